// A tree of files as another engine on this machine is told of it.
#pragma once

#include "common/json.h"
#include "formats/file_tree.h"

namespace wring {

// {"blobs": FOLDER, "files": {PATH: [DIGEST, ...]}} of an artifact's chunks, {"path": FOLDER_OR_FILE} of what
// lies on disk as it is.
Json tree_to_json(const FileTree& tree);
// Throws Error(kInvalidArgument) where it is neither, and as FileTree does.
FileTree tree_from_json(const Json& json);

}  // namespace wring

// Tensors of a model's files that are no part of the model: a head of one's own.
#pragma once

#include <string>
#include <vector>

#include "engine/model/model.h"
#include "formats/file_tree.h"

namespace wring {

// Names in the safetensors files that `model` was loaded from, without buffers that are worked out anew
// (position_ids, inv_freq). Empty for other formats, whose readers take all that they know.
std::vector<std::string> unread_tensors(const Model& model, const FileTree& source);

}  // namespace wring

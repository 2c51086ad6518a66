// The chunks of a tree on disk, each once, to be read where they lie.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/file_tree.h"
#include "formats/manifest.h"

namespace wring {

// Any thread may read. The files must stay as they were when the manifest was built.
class TreeChunks {
 public:
  // `manifest`: that of the tree at `path`, as build_manifest made it.
  TreeChunks(const std::filesystem::path& path, const Manifest& manifest);

  const std::vector<Chunk>& chunks() const { return chunks_; }  // in the order in which they come first
  // The bytes of chunks()[i]. Throws as FileTree::open and FileView::read.
  Bytes read(std::size_t i) const;

 private:
  struct Place {
    std::string file;
    std::uint64_t offset;
  };
  FileTree tree_;
  std::vector<Chunk> chunks_;
  std::vector<Place> places_;
};

}  // namespace wring

// Where each chunk lies.
#include "formats/tree_chunks.h"

#include <set>

namespace wring {

TreeChunks::TreeChunks(const std::filesystem::path& path, const Manifest& manifest)
    : tree_(FileTree::on_disk(path)) {
  std::set<Digest> seen;
  for (const auto& file : manifest.files) {
    std::uint64_t offset = 0;
    for (const auto& chunk : file.chunks) {
      if (seen.insert(chunk.digest).second) {
        chunks_.push_back(chunk);
        places_.push_back({file.path, offset});
      }
      offset += chunk.size;
    }
  }
}

Bytes TreeChunks::read(std::size_t i) const {
  return tree_.open(places_[i].file).read(places_[i].offset, chunks_[i].size);
}

}  // namespace wring

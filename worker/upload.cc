// Read where they lie.
#include "worker/upload.h"

#include <utility>
#include <vector>

#include "formats/tree_chunks.h"

namespace wring {

std::uint64_t upload_tree(Coordinator& coordinator, const std::filesystem::path& folder,
                          const Manifest& manifest, const std::function<void()>& commit,
                          const TransferOptions& options) {
  const TreeChunks tree(folder, manifest);
  std::vector<BlobRef> blobs;
  for (const auto& chunk : tree.chunks()) blobs.push_back({chunk.digest, chunk.size});
  const auto read = [&](std::size_t i) {
    auto bytes = tree.read(i);
    return BlobBytes{bytes.data, std::move(bytes.owner)};
  };
  return upload_and_commit(coordinator.artifacts(), blobs, read, commit, options);
}

}  // namespace wring

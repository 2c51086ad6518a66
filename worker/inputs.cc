// Manifests first, then the chunks that the cache lacks.
#include "worker/inputs.h"

#include <vector>

#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

std::vector<BlobRef> chunks_of(const Manifest& manifest) {
  std::vector<BlobRef> blobs;
  for (const auto& file : manifest.files)
    for (const auto& chunk : file.chunks) blobs.push_back({chunk.digest, chunk.size});
  return blobs;
}

}  // namespace

TransferOptions patient(const StopSignal& stop) {
  TransferOptions options;
  options.patience_seconds = 1e9;
  options.stop = [&stop] { return static_cast<bool>(stop); };
  return options;
}

Inputs::Inputs(Coordinator& coordinator, Cache& cache, const std::filesystem::path& scratch,
               const StopSignal& stop)
    : coordinator_(coordinator), cache_(cache), scratch_(scratch), stop_(stop), hold_(cache) {}

Json Inputs::fetch_artifact(const std::string& digest, const std::string& name) {
  const auto artifact =
      until_answered(stop_, "GetArtifact", [&] { return coordinator_.get_artifact(digest); });
  const auto manifest = Manifest::parse(artifact.manifest_json());
  if (manifest.digest().hex() != digest)
    throw Error(ErrorCode::kDataLoss, "CORRUPT_MANIFEST",
                "the manifest that the server sent is not that of " + digest, name);
  Json input = fetch(manifest, name);
  input["name"] = artifact.name();
  return input;
}

Json Inputs::fetch(const Manifest& manifest, const std::string& name) {
  const auto missing = cache_.claim(chunks_of(manifest), hold_, [this] { return static_cast<bool>(stop_); });
  TransferOptions options = patient(stop_);
  options.durability = Durability::kProcess;  // a cache that starts anew verifies what it finds
  download_blobs(coordinator_.artifacts(), missing, cache_.blobs(), options);
  cache_.add(missing);
  const auto file = scratch_ / (name + ".manifest.json");
  write_file_atomic(file, manifest.canonical());
  return {{"manifest", file.string()}, {"blobs", cache_.blobs().string()}};
}

}  // namespace wring

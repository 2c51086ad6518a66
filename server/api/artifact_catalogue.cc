// Committing artifacts.
#include "server/api/artifact_catalogue.h"

#include "common/error.h"
#include "formats/manifest.h"
#include "server/api/messages.h"

namespace wring {

wring::v1::Artifact commit_artifact(const std::string& manifest_json, const std::string& name, TimeMs now,
                                    JobStore& store, const BlobStore& blobs) {
  if (name.size() > 200)
    throw Error(ErrorCode::kInvalidArgument, "NAME_TOO_LONG", "a name of more than 200 bytes", "name");
  const Manifest manifest = Manifest::parse(manifest_json);
  const auto digest = manifest.digest().hex();
  if (auto known = store.artifact(digest)) return *known;
  for (std::size_t f = 0; f < manifest.files.size(); ++f)
    for (const auto& chunk : manifest.files[f].chunks)
      if (!blobs.has(chunk.digest) || blobs.size(chunk.digest) != chunk.size)
        throw Error(ErrorCode::kFailedPrecondition, "MISSING_BLOBS",
                    "chunk " + chunk.digest.hex() + " of " + manifest.files[f].path + " is not in the store",
                    "files[" + std::to_string(f) + "]", "Ask FindMissingBlobs and upload what it names.");
  wring::v1::Artifact artifact;
  artifact.set_digest(digest);
  artifact.set_kind(manifest.kind);
  artifact.set_total_bytes(manifest.total_bytes());
  artifact.set_file_count(static_cast<std::uint32_t>(manifest.files.size()));
  *artifact.mutable_create_time() = to_timestamp(now);
  artifact.set_manifest_json(manifest.canonical());
  artifact.set_name(name);
  StoreBatch batch;
  batch.artifacts.push_back(artifact);
  store.write(std::move(batch)).get();
  return artifact;
}

}  // namespace wring

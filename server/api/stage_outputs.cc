// Keys are looked up within one project and never across.
#include "server/api/stage_outputs.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/log.h"
#include "server/api/artifact_catalogue.h"

namespace wring {
namespace {

bool renew_all(BlobStore& blobs, const Manifest& manifest) {
  bool whole = true;
  for (const auto& [chunk, size] : chunks_of(manifest)) whole = blobs.renew(chunk) && whole;
  return whole;
}

}  // namespace

v1::FindStageResponse StageOutputs::find(const std::string& project, const std::string& key, TimeMs now) {
  v1::FindStageResponse response;
  const auto output = store.stage_output(project, Digest::parse(key, "key").hex());
  if (!output) return response;
  if (!renew_all(blobs, Manifest::parse(output->manifest))) {
    spdlog::warn("stage {} of project {} has lost a chunk and is forgotten", key, project);
    store.remove_stage_output(project, key);
    return response;
  }
  store.use_stage_output(project, key, now);
  response.set_found(true);
  response.set_manifest_json(output->manifest);
  response.set_seconds(output->seconds);
  return response;
}

v1::KeepStageResponse StageOutputs::keep(const std::string& project, const v1::KeepStageRequest& request,
                                         const TenantBlobs& uploaded, TimeMs now,
                                         std::vector<std::string>& missing) {
  const auto key = Digest::parse(request.key(), "key").hex();
  const Manifest manifest = parse_manifest(request.manifest_json());
  const BlobStore::Claim claim(blobs, digests_of(manifest));  // until the output is stored
  check_chunks(manifest, uploaded, missing);
  const double seconds = std::isfinite(request.seconds()) ? std::max(request.seconds(), 0.0) : 0;
  const auto digest = manifest.digest().hex();
  v1::KeepStageResponse response;
  response.set_digest(store.put_stage_output(
      {project, key, manifest.canonical(), digest, manifest.total_bytes(), seconds, now}));
  if (response.digest() != digest) {
    metrics.stage_differed();
    spdlog::warn("stage {} of project {}: job {} made {}, and {} is kept", key, project, request.job_id(),
                 digest, response.digest());
  }
  const auto totals = store.stage_output_totals();
  metrics.stage_outputs(totals.count, totals.bytes);
  return response;
}

}  // namespace wring

// One call for a key that the worker's own cache lacks.
#include "worker/stage_cache.h"

#include "common/error.h"
#include "common/log.h"
#include "common/text.h"

namespace wring {

StageCache::StageCache(Coordinator& coordinator, Cache& cache, Inputs& inputs, const v1::Job& job,
                       const v1::Fence& fence)
    : coordinator_(coordinator),
      cache_(cache),
      inputs_(inputs),
      job_id_(job.id()),
      project_(job.spec().project()),
      fence_(fence) {}

std::optional<Json> StageCache::find(const Digest& key) {
  const auto known = found_.find(key.hex());
  if (known != found_.end() && known->second.where == std::string("project")) return known->second.input;
  std::optional<Found> found;
  const auto stop = [this] { return static_cast<bool>(inputs_.stop()); };
  if (const auto kept = cache_.find_stage(project_, key, inputs_.hold(), stop))
    found = Found{{{"path", kept->path.string()}}, "worker", kept->bytes, 0};
  else
    found = find_in_project(key);
  if (!found) return std::nullopt;
  return (found_[key.hex()] = *found).input;
}

std::optional<StageCache::Found> StageCache::find_in_project(const Digest& key) {
  v1::FindStageRequest request;
  request.set_job_id(job_id_);
  *request.mutable_fence() = fence_;
  request.set_key(key.hex());
  try {
    const auto answer = coordinator_.find_stage(request);
    if (!answer.found()) return std::nullopt;
    const auto manifest = Manifest::parse(answer.manifest_json());
    const auto input = inputs_.fetch(manifest, "stage-" + key.hex());
    spdlog::info("job {}: stage {} comes from another worker, {} that took it {}", job_id_,
                 key.hex().substr(0, 12), human_bytes(manifest.total_bytes()),
                 human_duration(answer.seconds()));
    return Found{input, "project", manifest.total_bytes(), answer.seconds()};
  } catch (const Error& error) {
    if (error.reason() == "STOPPED") throw;
    spdlog::warn("stage {} cannot be had from the project's cache and is run: {}", key.hex().substr(0, 12),
                 error.what());
    return std::nullopt;
  }
}

void StageCache::describe(v1::StageStatus& stage) const {
  if (stage.state() != "cached") return;
  const auto found = found_.find(stage.key());
  if (found == found_.end()) return stage.set_cached_in("skipped");
  stage.set_cached_in(found->second.where);
  stage.set_cached_bytes(found->second.bytes);
  stage.set_saved_seconds(found->second.seconds);
}

}  // namespace wring

// Artifacts first, then marks from those that are left, then the sweep.
#include "server/upkeep/collect.h"

#include <chrono>
#include <set>

#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "server/auth/tenant_blobs.h"

namespace wring {
namespace {

std::set<Digest> chunks_of(const std::string& manifest) {
  std::set<Digest> chunks;
  for (const auto& file : Manifest::parse(manifest).files)
    for (const auto& chunk : file.chunks) chunks.insert(chunk.digest);
  return chunks;
}

void delete_expired(JobStore& store, BlobStore& blobs, TimeMs now, CollectReport& report) {
  for (const auto& [digest, project] : store.expired(now)) {
    try {
      delete_artifact(digest, store, blobs, project);
      ++report.expired;
    } catch (const Error& error) {  // a job reads it, or somebody was faster: another time
      spdlog::debug("expired, and not deleted: {}", error.message());
    }
  }
}

std::filesystem::file_time_type oldest_kept(TimeMs grace) {
  using Time = std::filesystem::file_time_type;
  return grace == 0 ? Time::max() : Time::clock::now() - std::chrono::milliseconds(grace);
}

}  // namespace

Json CollectReport::to_json() const {
  return {{"expired_artifacts", expired},
          {"deleted_blobs", blobs},
          {"deleted_bytes", bytes},
          {"kept_blobs", kept}};
}

void delete_artifact(const std::string& digest, JobStore& store, BlobStore& blobs, const Within& project) {
  const auto artifact = store.artifact(digest, project);
  if (artifact)  // before: a sweep that begins between the two must find them young
    for (const auto& chunk : chunks_of(artifact->manifest_json())) blobs.renew(chunk);
  store.remove_artifact(digest, project);
}

CollectReport collect_garbage(JobStore& store, BlobStore& blobs, TimeMs now, TimeMs grace) {
  CollectReport report;
  delete_expired(store, blobs, now, report);
  blobs.forget_old_uploads();
  const auto before = oldest_kept(grace);  // an artifact that is committed from here on has younger chunks
  const auto found = blobs.all();
  std::set<Digest> used;
  store.for_each_manifest([&](const std::string& manifest) { used.merge(chunks_of(manifest)); });
  for (const auto& digest : found) {
    if (used.contains(digest)) {
      ++report.kept;
      continue;
    }
    const auto bytes = blobs.remove_unused(digest, before);
    report.blobs += bytes > 0;
    report.bytes += bytes;
  }
  forget_unused_blobs(store, grace);
  return report;
}

Collector::Collector(JobStore& store, BlobStore& blobs, const Clock& clock, TimeMs period, TimeMs grace)
    : thread_([&store, &blobs, &clock, period, grace, this](const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        while (!stopped_.wait_for(lock, stop, std::chrono::milliseconds(period),
                                  [&] { return stop.stop_requested(); })) {
          try {
            const auto report = collect_garbage(store, blobs, clock.now_ms(), grace);
            if (report.expired + report.blobs > 0)
              spdlog::info("collected: {} artifacts that had expired, {} blobs of {}", report.expired,
                           report.blobs, human_bytes(report.bytes));
          } catch (...) {
            spdlog::error("nothing was collected: {}", current_error().message());
          }
        }
      }) {}

Collector::~Collector() = default;

}  // namespace wring

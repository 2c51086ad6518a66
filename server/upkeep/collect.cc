// Artifacts first, then marks from those that are left, then the sweep.
#include "server/upkeep/collect.h"

#include <chrono>
#include <set>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "server/auth/tenant_blobs.h"
#include "server/store/audit_rows.h"

namespace wring {
namespace {

std::set<Digest> chunks_of(const std::string& manifest) {
  std::set<Digest> chunks;
  for (const auto& file : Manifest::parse(manifest).files)
    for (const auto& chunk : file.chunks) chunks.insert(chunk.digest);
  return chunks;
}

// Before its artifact is deleted: a sweep that begins between the two must find the chunks young.
void renew_chunks(const std::string& digest, JobStore& store, BlobStore& blobs, const Within& project) {
  if (const auto artifact = store.artifact(digest, project))
    for (const auto& chunk : chunks_of(artifact->manifest_json())) blobs.renew(chunk);
}

std::filesystem::file_time_type oldest_kept(TimeMs grace) {
  using Time = std::filesystem::file_time_type;
  return grace == 0 ? Time::max() : Time::clock::now() - std::chrono::milliseconds(grace);
}

}  // namespace

Json CollectReport::to_json() const {
  return {{"expired_artifacts", expired}, {"forgotten_stages", stages},
          {"deleted_blobs", blobs},       {"deleted_bytes", bytes},
          {"kept_blobs", kept},           {"forgotten_unfinished_blobs", unfinished}};
}

void delete_artifact(const std::string& digest, JobStore& store, BlobStore& blobs, const Within& project) {
  renew_chunks(digest, store, blobs, project);
  store.remove_artifact(digest, project);
}

namespace {

void collect_into(CollectReport& report, JobStore& store, BlobStore& blobs, TimeMs now, TimeMs grace,
                  const StageCacheLimits& stages) {
  blobs.claim_place(store.id(), /*is_new=*/false);
  const auto expired = store.expired(now);
  for (const auto& [digest, project] : expired) renew_chunks(digest, store, blobs, project);
  report.expired = store.remove_expired(expired, now);
  report.stages = store.trim_stage_outputs(now - stages.unused, stages.bytes);
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
  report.unfinished = blobs.forget_unfinished(before);
}

AuditEntry entry_of(const CollectReport& report, CollectedBy by, TimeMs now, const std::string& outcome) {
  const bool is_asked_for = by == CollectedBy::kOperator;
  return {0,
          now,
          is_asked_for ? "operator" : "collector",
          "",
          "",
          is_asked_for ? "wring-server gc" : "collect",
          std::to_string(report.expired) + " expired artifacts, " + std::to_string(report.stages) +
              " outputs of stages, " + std::to_string(report.blobs) + " blobs of " +
              std::to_string(report.bytes) + " bytes, " + std::to_string(report.unfinished) + " unfinished",
          outcome,
          ""};
}

}  // namespace

CollectReport collect_garbage(JobStore& store, BlobStore& blobs, TimeMs now, TimeMs grace,
                              const StageCacheLimits& stages) {
  CollectReport report;
  collect_into(report, store, blobs, now, grace, stages);
  return report;
}

CollectReport collect_and_note(JobStore& store, BlobStore& blobs, CollectedBy by, TimeMs now, TimeMs grace,
                               const StageCacheLimits& stages) {
  CollectReport report;
  const auto note = [&](const std::string& outcome) {
    if (by == CollectedBy::kCollector && !report.deleted_anything()) return;
    store.change_later(
        [entry = entry_of(report, by, now, outcome)](Connection& db) { put_audit_entry(db, entry); });
  };
  try {
    collect_into(report, store, blobs, now, grace, stages);
  } catch (...) {
    note(current_error().reason());
    throw;
  }
  note("OK");
  return report;
}

Collector::Collector(JobStore& store, BlobStore& blobs, Metrics& metrics, const Clock& clock, TimeMs period,
                     TimeMs grace, const StageCacheLimits& stages)
    : thread_([&store, &blobs, &metrics, &clock, period, grace, stages, this](const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        while (!stopped_.wait_for(lock, stop, std::chrono::milliseconds(period),
                                  [&] { return stop.stop_requested(); })) {
          try {
            const Stopwatch watch;
            const auto report =
                collect_and_note(store, blobs, CollectedBy::kCollector, clock.now_ms(), grace, stages);
            metrics.collected(static_cast<double>(report.bytes), watch.seconds());
            if (report.deleted_anything())
              spdlog::info(
                  "collected: {} artifacts that had expired, {} outputs of stages, {} blobs of {}, {} "
                  "unfinished",
                  report.expired, report.stages, report.blobs, human_bytes(report.bytes), report.unfinished);
          } catch (...) {
            spdlog::error("nothing was collected: {}", current_error().message());
          }
        }
      }) {}

Collector::~Collector() = default;

}  // namespace wring

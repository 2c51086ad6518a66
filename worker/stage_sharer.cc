// A queue and its thread.
#include "worker/stage_sharer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "worker/upload.h"

namespace wring {
namespace {

// What a worker can expect to fetch: a gigabit.
constexpr double kFetchBytesPerSecond = 100e6;
constexpr auto kAgain = std::chrono::seconds(1);  // after a call that the server was away for
constexpr int kNiceness = 10;

}  // namespace

StageSharer::StageSharer(Coordinator& coordinator, Cache& cache, double least_seconds)
    : coordinator_(coordinator),
      cache_(cache),
      least_seconds_(least_seconds),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

StageSharer::~StageSharer() = default;

bool StageSharer::is_worth_it(double seconds, std::uint64_t bytes) const {
  return seconds >= least_seconds_ && seconds >= static_cast<double>(bytes) / kFetchBytesPerSecond;
}

void StageSharer::share(Output output) {
  const std::lock_guard lock(mutex_);
  outputs_.push_back(std::move(output));
  changed_.notify_all();
}

void StageSharer::flush(const StopSignal& stop, double patience_seconds) {
  std::unique_lock lock(mutex_);
  while (!outputs_.empty() && !stop && !(away_ && away_->seconds() > patience_seconds))
    changed_.wait_for(lock, std::chrono::milliseconds(100));
}

StageSharer::Pause::Pause(StageSharer& sharer) : sharer_(sharer) {
  const std::lock_guard lock(sharer_.mutex_);
  ++sharer_.pauses_;
}

StageSharer::Pause::~Pause() {
  const std::lock_guard lock(sharer_.mutex_);
  --sharer_.pauses_;
  sharer_.changed_.notify_all();
}

bool StageSharer::interrupted(const std::stop_token& stop) {
  const std::lock_guard lock(mutex_);
  return stop.stop_requested() || pauses_ > 0;
}

void StageSharer::note_away() {
  const std::lock_guard lock(mutex_);
  if (!away_) away_.emplace();
}

void StageSharer::run(const std::stop_token& stop) {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNiceness);
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return !outputs_.empty() && pauses_ == 0; };
  while (changed_.wait(lock, stop, ready), !stop.stop_requested()) {
    const Output output = outputs_.front();
    lock.unlock();
    const bool over = hand_in(output, stop);
    lock.lock();
    if (over) {
      outputs_.pop_front();
      away_.reset();
    }
    if (!over && pauses_ == 0) changed_.wait_for(lock, stop, kAgain, [] { return false; });
    changed_.notify_all();
  }
}

// Whether nothing is left to do for it: it is known, or cannot be.
bool StageSharer::hand_in(const Output& output, const std::stop_token& stop) {
  const LogScope job("job", output.job_id);
  try {
    Cache::Hold hold(cache_);
    const auto kept = cache_.find_stage(output.project, output.key, hold);
    if (!kept) return true;  // it had to make room
    const auto manifest = build_manifest(kept->path, output.kind);
    v1::KeepStageRequest request;
    request.set_job_id(output.job_id);
    *request.mutable_fence() = output.fence;
    request.set_key(output.key.hex());
    request.set_manifest_json(manifest.canonical());
    request.set_seconds(output.seconds);
    Coordinator coordinator = coordinator_.for_job(output.job_id);
    TransferOptions options;
    options.parallel = 1;
    options.stop = [&] { return interrupted(stop); };
    std::string first;
    const auto sent = upload_tree(
        coordinator, kept->path, manifest, [&] { first = coordinator.keep_stage(request).digest(); },
        options);
    if (first != manifest.digest().hex())
      spdlog::warn("job {}: stage {} came out otherwise than on another worker", output.job_id,
                   output.key.hex());
    spdlog::info("job {}: stage {} shared, {} of {} sent", output.job_id, output.key.hex().substr(0, 12),
                 human_bytes(sent), human_bytes(kept->bytes));
    return true;
  } catch (...) {
    const Error error = current_error();
    if (is_away(error)) note_away();
    if (error.reason() == "STOPPED" || is_away(error)) return false;
    spdlog::warn("job {}: stage {} is not shared: {}", output.job_id, output.key.hex().substr(0, 12),
                 error.what());
    return true;
  }
}

}  // namespace wring

// Hands the outputs of finished steps in to the project's stage cache, behind everyone's back.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/digest.h"
#include "worker/cache.h"
#include "worker/coordinator.h"
#include "worker/stop_signal.h"

namespace wring {

// One after the other, on a thread of its own at low priority. What is not handed in when this is destroyed
// stays the worker's own. Any thread may call.
class StageSharer {
 public:
  // A step's output that the cache keeps.
  struct Output {
    std::string job_id, project;
    v1::Fence fence;
    Digest key;
    std::string kind;    // of its manifest
    double seconds = 0;  // that the step took
  };

  // Outputs that are not worth it are not shared.
  StageSharer(Coordinator& coordinator, Cache& cache, double least_seconds);
  ~StageSharer();
  StageSharer(const StageSharer&) = delete;
  StageSharer& operator=(const StageSharer&) = delete;

  // Whether an output of so many bytes took at least `least_seconds`, and longer to make than it would to
  // fetch.
  bool is_worth_it(double seconds, std::uint64_t bytes) const;
  void share(Output output);  // REQUIRES: it is worth it
  // Waits until all is handed in, `stop` is set, or the server has been away for `patience_seconds`.
  void flush(const StopSignal& stop, double patience_seconds);

  // While one lives nothing is sent: the result of a job goes first, and has most chunks of its last stage.
  class Pause {
   public:
    explicit Pause(StageSharer& sharer);
    ~Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    StageSharer& sharer_;
  };

 private:
  void run(const std::stop_token& stop);
  bool hand_in(const Output& output, const std::stop_token& stop);
  void note_away();
  bool interrupted(const std::stop_token& stop);

  Coordinator& coordinator_;
  Cache& cache_;
  const double least_seconds_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Output> outputs_;
  std::optional<Stopwatch> away_;  // since when no server answers
  int pauses_ = 0;
  std::jthread thread_;
};

}  // namespace wring

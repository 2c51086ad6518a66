// Keeps the worker known to the server and its lease alive: heartbeats, progress and stage reports, and what
// comes back.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "worker/coordinator.h"
#include "worker/stop_signal.h"

namespace wring {

// One thread of its own that talks; every other thread only leaves things with it, so that an engine never
// waits for the network. While the server is away it goes on trying, and keeps reports and the newest
// progress.
class LeaseKeeper {
 public:
  // `heartbeat_seconds` as the server asked for. `worker` is registered again where the server does not know
  // it. `use`: what heartbeats say of it, asked for on the keeper's thread.
  LeaseKeeper(Coordinator& coordinator, v1::Worker worker, double heartbeat_seconds,
              std::function<v1::WorkerUse()> use);
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  // From here to end() the lease is renewed; `stop` (which outlives that) is set to kCancel or kLost as the
  // server says.
  void begin(const std::string& job_id, const v1::Fence& fence, StopSignal& stop);
  void progress(const v1::Progress& progress);
  void log(const std::string& line);  // of the job; the newest thousand wait for the server
  void report(v1::StageStatus stage, std::vector<v1::Evaluation> evaluations = {});
  // Waits until all reports and lines have been taken by the server, or `stop` is set.
  void flush();
  void end();

  // Says with every heartbeat from now on that this worker takes no more jobs.
  void set_draining();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Lease {
    std::string job_id;
    v1::Fence fence;
    StopSignal* stop;
    std::uint64_t number;                              // tells it from an earlier lease
    std::map<std::uint32_t, v1::Progress> progress{};  // not told yet
    std::deque<v1::ReportStageRequest> reports{};      // not taken yet
    std::deque<std::string> log{};                     // likewise
    std::uint64_t logged = 0;                          // lines that were ever put in
    bool flushing = false;                             // somebody waits until they are taken
  };

  void run(const std::stop_token& stop);
  bool is_urgent() const;
  Time next_due(Time last) const;
  bool send_report(std::unique_lock<std::mutex>& lock);
  bool send_heartbeat(std::unique_lock<std::mutex>& lock);
  void obey(const v1::HeartbeatResponse& response, std::uint64_t number);
  Lease* lease(std::uint64_t number);

  Coordinator& coordinator_;
  const v1::Worker worker_;
  const double heartbeat_seconds_;
  const std::function<v1::WorkerUse()> use_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<Lease> lease_;
  std::uint64_t leases_ = 0;
  bool draining_ = false;
  std::jthread thread_;
};

}  // namespace wring

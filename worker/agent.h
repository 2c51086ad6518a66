// The worker: registers, leases one job at a time, runs it, until it is told to go.
#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "worker/cache.h"
#include "worker/coordinator.h"
#include "worker/lease_keeper.h"
#include "worker/metrics.h"
#include "worker/options.h"
#include "worker/sandbox.h"
#include "worker/stage_sharer.h"
#include "worker/stop_signal.h"

namespace wring {

class Agent {
 public:
  // Takes the cache folder and asks the engine for its devices. Throws Error where either cannot be had.
  explicit Agent(WorkerOptions options);

  // Works until drain() (or, with options.once, until one job has ended; with options.exit_when_idle, until
  // it had none for so long, also where the server is away). Engines are started on the calling thread and
  // die with it.
  void run();

  // Takes no more jobs; gives the running one back, at once or after options.drain_seconds. Any thread;
  // returns at once.
  void drain();

  const v1::Worker& worker() const { return worker_; }
  // Where metrics are served; 0: nowhere.
  int metrics_port() const { return endpoint_ ? endpoint_->port() : 0; }

 private:
  void work_until_told();
  void set_idle(bool idle);
  double idle_seconds_left();  // infinite where it does not end by itself, or has a job
  void leave_when_forgotten(const std::stop_token& stop);
  v1::RegisterWorkerResponse register_worker();
  v1::LeaseJobResponse lease();
  bool work(const v1::LeaseJobResponse& lease, LeaseKeeper& keeper);  // whether the disk had room for it
  void wait_for_room(double seconds);
  v1::Device device_for(const v1::JobSpec& spec) const;
  v1::WorkerUse use();

  const WorkerOptions options_;
  Cache cache_;
  v1::Worker worker_;
  DeviceMeter meter_;
  WorkerMetrics metrics_;
  std::optional<MetricsEndpoint> endpoint_;
  std::optional<Sandbox> sandbox_;  // of engines
  Coordinator coordinator_;
  StageSharer sharer_;
  StopSignal draining_;  // no more jobs
  StopSignal leave_;     // a last message that does not get through is given up

  std::mutex mutex_;
  grpc::ClientContext* leasing_ = nullptr;        // the call that waits for a job
  std::optional<Stopwatch> idle_{std::in_place};  // since when; none: it has a job
};

}  // namespace wring

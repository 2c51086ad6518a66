// What a worker shows Prometheus (--metrics): its engine, its cache, what became of its attempts.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/address.h"
#include "worker/cache.h"
#include "worker/device_meter.h"
#include "wring/v1/workers.pb.h"

namespace wring {

// Any thread may call.
class WorkerMetrics {
 public:
  // Cache and meter outlive this; their figures are those of the moment in which they are asked for.
  WorkerMetrics(const v1::Worker& worker, const Cache& cache, DeviceMeter& meter);

  void attempt_began() { running_.Set(1); }
  // `outcome`: of FinishAttempt; empty: the lease was lost.
  void attempt_ended(const std::string& outcome);
  // Anonymous and shared memory of the engine that runs.
  void engine_memory(std::uint64_t bytes) { engine_bytes_.Set(static_cast<double>(bytes)); }
  // "done" or "cached", and then where it came from: "worker" or "project".
  void step_ended(const v1::StageStatus& step);

  std::shared_ptr<prometheus::Collectable> collectable() const { return collectable_; }

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<prometheus::Collectable> collectable_;
  prometheus::Family<prometheus::Counter>&attempts_, &steps_;
  prometheus::Gauge &running_, &engine_bytes_;
};

// Serves GET /metrics in plain text, to whoever reaches the address, while it lives.
class MetricsEndpoint {
 public:
  // Throws kUnavailable "ADDRESS_IN_USE". The metrics outlive this.
  MetricsEndpoint(const Address& address, const WorkerMetrics& metrics);
  int port() const;

 private:
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace wring

// What /metrics shows, in prometheus-cpp's registry.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <memory>
#include <string>

namespace wring {

// Any thread may call.
class Metrics {
 public:
  Metrics();

  void job_submitted() { submitted_.Increment(); }
  void job_ended(const std::string& state);
  void lease_granted() { leases_.Increment(); }
  void lease_refused_stale() { stale_.Increment(); }
  void queue(std::size_t queued, std::size_t running, std::size_t workers);
  void blob_bytes(const std::string& direction, double bytes);
  // A stage with a key ended: "made", or taken from the cache of its "worker" or its "project".
  void stage_ended(const std::string& source, double saved_bytes, double saved_seconds);
  void stage_differed() { differed_.Increment(); }
  void stage_outputs(std::uint64_t count, std::uint64_t bytes);
  void rpc(const std::string& method, const std::string& code);

  std::string text() const;  // Prometheus's exposition format

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter& submitted_;
  prometheus::Family<prometheus::Counter>& ended_;
  prometheus::Counter& leases_;
  prometheus::Counter& stale_;
  prometheus::Family<prometheus::Counter>& blob_;
  prometheus::Family<prometheus::Counter>& rpcs_;
  prometheus::Family<prometheus::Counter>& stages_;
  prometheus::Counter &saved_bytes_, &saved_seconds_, &differed_;
  prometheus::Gauge &queued_, &running_, &workers_, &outputs_, &output_bytes_;
};

}  // namespace wring

// What /metrics shows, in prometheus-cpp's registry.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace wring {

// Values of one label that somebody else chooses: the first `limit` of them, and one word for all others, so
// that nobody fills the memory of whoever scrapes. Any thread may call.
class LabelValues {
 public:
  explicit LabelValues(std::size_t limit) : limit_(limit) {}

  std::string of(const std::string& value);
  std::set<std::string> known() const;  // what of() has returned

 private:
  const std::size_t limit_;
  mutable std::mutex mutex_;
  std::set<std::string> known_;
  bool others_ = false;
};

// Any thread may call. Seconds and bytes throughout.
class Metrics {
 public:
  Metrics();

  void job_submitted() { submitted_.Increment(); }
  void job_ended(const std::string& state);
  void lease_granted() { leases_.Increment(); }
  void lease_refused_stale() { stale_.Increment(); }
  // A job was leased so long after it could have been.
  void job_waited(const std::string& device, double seconds);
  // "succeeded", "failed", "cancelled", "retried" (it failed, and its job is queued again) or "released" (its
  // worker drains, or its job was paused). `reason`: of the error; empty: none.
  void attempt_ended(const std::string& outcome, const std::string& reason);
  void queue(std::size_t queued, std::size_t running, std::size_t workers);
  // By (project, kind of device): how many wait, and how long the oldest has.
  struct Waiting {
    std::size_t jobs = 0;
    double oldest_seconds = 0;
  };
  void queues(const std::map<std::pair<std::string, std::string>, Waiting>& queues);
  void blob_bytes(const std::string& direction, double bytes);
  void collected(double bytes, double seconds);  // by one run over all blobs
  void storage(std::uint64_t stored, std::uint64_t free, std::uint64_t capacity);
  // A stage with a key ended: "made", or taken from the cache of its "worker" or its "project".
  void stage_ended(const std::string& source, double saved_bytes, double saved_seconds);
  void stage_ran(const std::string& method, double seconds);
  void stage_differed() { differed_.Increment(); }
  void stage_outputs(std::uint64_t count, std::uint64_t bytes);
  // Batch jobs of the provisioner's workers, now; and whether the batch system does what it is asked for.
  void pool(std::size_t pending, std::size_t running, std::size_t ending, bool works);
  void pool_submitted(std::size_t count) { pool_submitted_.Increment(static_cast<double>(count)); }
  void pool_cancelled(std::size_t count) { pool_cancelled_.Increment(static_cast<double>(count)); }
  void pool_failed(const std::string& reason);
  void rpc(const std::string& method, const std::string& code);
  void rpc_took(const std::string& method, double seconds);
  void http(const std::string& route, int status, double seconds);

  std::string text() const;  // Prometheus's exposition format

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter& submitted_;
  prometheus::Family<prometheus::Counter>& ended_;
  prometheus::Counter& leases_;
  prometheus::Counter& stale_;
  prometheus::Family<prometheus::Histogram>& waits_;
  prometheus::Family<prometheus::Counter>& attempts_;
  prometheus::Family<prometheus::Counter>& blob_;
  prometheus::Counter& collected_;
  prometheus::Family<prometheus::Counter>& rpcs_;
  prometheus::Family<prometheus::Histogram>& rpc_seconds_;
  prometheus::Family<prometheus::Counter>& https_;
  prometheus::Family<prometheus::Histogram>&http_seconds_, &stage_seconds_;
  prometheus::Family<prometheus::Counter>& stages_;
  prometheus::Counter &saved_bytes_, &saved_seconds_, &differed_;
  prometheus::Histogram& collect_seconds_;
  prometheus::Gauge &stored_, &disk_free_, &disk_;
  prometheus::Gauge &queued_, &running_, &workers_, &outputs_, &output_bytes_;
  prometheus::Family<prometheus::Gauge>&project_queued_, &queue_age_;
  prometheus::Family<prometheus::Gauge>& pool_jobs_;
  prometheus::Family<prometheus::Gauge>& pool_up_;
  prometheus::Counter &pool_submitted_, &pool_cancelled_;
  prometheus::Family<prometheus::Counter>& pool_errors_;
  LabelValues devices_{16}, reasons_{100}, pool_reasons_{100}, projects_{100}, methods_{200};
};

}  // namespace wring

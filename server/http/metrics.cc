// Metrics by prometheus-cpp.
#include "server/http/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>

namespace wring {
namespace {
constexpr const char* kOther = "_other";
}

std::string LabelValues::of(const std::string& value) {
  const std::lock_guard lock(mutex_);
  if (known_.size() < limit_ || known_.contains(value)) return *known_.insert(value).first;
  others_ = true;
  return kOther;
}

std::set<std::string> LabelValues::known() const {
  const std::lock_guard lock(mutex_);
  auto all = known_;
  if (others_) all.insert(kOther);
  return all;
}

namespace {

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}
prometheus::Family<prometheus::Histogram>& seconds(prometheus::Registry& registry, const char* name,
                                                   const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

using Buckets = prometheus::Histogram::BucketBoundaries;
const Buckets kCall = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
const Buckets kWork = {0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14'400, 86'400};

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      submitted_(counters(*registry_, "wring_jobs_submitted_total", "Jobs accepted").Add({})),
      ended_(counters(*registry_, "wring_jobs_ended_total", "Jobs that reached a terminal state, by state")),
      leases_(counters(*registry_, "wring_leases_granted_total", "Leases given to workers").Add({})),
      stale_(counters(*registry_, "wring_stale_commits_refused_total",
                      "Commits refused because of an older fence")
                 .Add({})),
      waits_(seconds(*registry_, "wring_job_wait_seconds",
                     "Time from when a job could be leased (its submission, or the end of a backoff) to its "
                     "lease, by kind of device")),
      attempts_(counters(*registry_, "wring_attempts_total", "Attempts that ended, by outcome and reason")),
      blob_(counters(*registry_, "wring_blob_bytes_total", "Blob bytes moved, by direction")),
      collected_(
          counters(*registry_, "wring_collected_bytes_total", "Bytes of unused blobs that were deleted")
              .Add({})),
      rpcs_(counters(*registry_, "wring_rpcs_total", "RPCs answered, by method and status code")),
      rpc_seconds_(seconds(*registry_, "wring_rpc_seconds",
                           "Time to answer an RPC, by method; without LeaseJob and WatchJob, which wait for "
                           "something to happen")),
      https_(
          counters(*registry_, "wring_http_requests_total", "HTTP requests answered, by route and status")),
      http_seconds_(seconds(*registry_, "wring_http_seconds", "Time to answer an HTTP request, by route")),
      stage_seconds_(seconds(*registry_, "wring_stage_seconds", "Time that a stage took, by method")),
      stages_(counters(*registry_, "wring_stages_total",
                       "Stages and evaluations that ended, by source: made, or taken from the cache of their "
                       "worker or their project")),
      saved_bytes_(counters(*registry_, "wring_stage_saved_bytes_total",
                            "Bytes of stages' outputs that were not made again")
                       .Add({})),
      saved_seconds_(counters(*registry_, "wring_stage_saved_seconds_total",
                              "Seconds that stages taken from a project's cache took their makers")
                         .Add({})),
      differed_(counters(*registry_, "wring_stages_differed_total",
                         "Stages whose output was another than the one that their project keeps")
                    .Add({})),
      collect_seconds_(
          seconds(*registry_, "wring_collect_seconds", "Time of a run that deletes what nobody uses")
              .Add({}, kWork)),
      stored_(gauge(*registry_, "wring_stored_bytes", "Bytes of blobs, uploads and stages' outputs")),
      disk_free_(gauge(*registry_, "wring_disk_free_bytes", "Free on the volume with the server's data")),
      disk_(gauge(*registry_, "wring_disk_bytes", "Size of that volume")),
      queued_(gauge(*registry_, "wring_jobs_queued", "Jobs that wait for a worker")),
      running_(gauge(*registry_, "wring_jobs_running", "Jobs that a worker has leased")),
      workers_(gauge(*registry_, "wring_workers_connected",
                     "Workers seen within the last minute that do not drain")),
      outputs_(gauge(*registry_, "wring_stage_outputs", "Outputs of stages that projects keep")),
      output_bytes_(gauge(*registry_, "wring_stage_output_bytes",
                          "Bytes of these outputs, chunks that they share counted each time")),
      project_queued_(prometheus::BuildGauge()
                          .Name("wring_project_jobs_queued")
                          .Help("Jobs that wait for a worker, by project and kind of device")
                          .Register(*registry_)),
      queue_age_(prometheus::BuildGauge()
                     .Name("wring_queue_oldest_seconds")
                     .Help("Time since the submission of the oldest job that waits for a worker, by project "
                           "and kind of device")
                     .Register(*registry_)),
      pool_jobs_(prometheus::BuildGauge()
                     .Name("wring_provision_jobs")
                     .Help("Batch jobs of provisioned workers, by state")
                     .Register(*registry_)),
      pool_up_(prometheus::BuildGauge()
                   .Name("wring_provision_up")
                   .Help("1 where the batch system took the last that it was asked for; absent without a "
                         "provisioner")
                   .Register(*registry_)),
      pool_submitted_(
          counters(*registry_, "wring_provision_submitted_total", "Batch jobs submitted for workers")
              .Add({})),
      pool_cancelled_(
          counters(*registry_, "wring_provision_cancelled_total", "Batch jobs of workers cancelled").Add({})),
      pool_errors_(counters(*registry_, "wring_provision_errors_total",
                            "Calls that the batch system refused or did not answer, by reason")) {}

void Metrics::job_ended(const std::string& state) {
  ended_.Add({{"state", state}}).Increment();
}
void Metrics::job_waited(const std::string& device, double seconds) {
  waits_.Add({{"device", devices_.of(device)}}, kWork).Observe(seconds);
}
void Metrics::attempt_ended(const std::string& outcome, const std::string& reason) {
  attempts_.Add({{"outcome", outcome}, {"reason", reason.empty() ? "none" : reasons_.of(reason)}})
      .Increment();
}
void Metrics::queue(std::size_t queued, std::size_t running, std::size_t workers) {
  queued_.Set(static_cast<double>(queued));
  running_.Set(static_cast<double>(running));
  workers_.Set(static_cast<double>(workers));
}
// What has none any more is set to 0.
void Metrics::queues(const std::map<std::pair<std::string, std::string>, Waiting>& queues) {
  std::map<std::pair<std::string, std::string>, Waiting> shown;
  for (const auto& project : projects_.known())
    for (const auto& device : devices_.known()) shown[{project, device}] = {};
  for (const auto& [share, waiting] : queues) {
    auto& sum = shown[{projects_.of(share.first), devices_.of(share.second)}];
    sum.jobs += waiting.jobs;
    sum.oldest_seconds = std::max(sum.oldest_seconds, waiting.oldest_seconds);
  }
  for (const auto& [share, waiting] : shown) {
    const prometheus::Labels labels{{"project", share.first}, {"device", share.second}};
    project_queued_.Add(labels).Set(static_cast<double>(waiting.jobs));
    queue_age_.Add(labels).Set(waiting.oldest_seconds);
  }
}
void Metrics::collected(double bytes, double seconds) {
  collected_.Increment(bytes);
  collect_seconds_.Observe(seconds);
}
void Metrics::storage(std::uint64_t stored, std::uint64_t free, std::uint64_t capacity) {
  stored_.Set(static_cast<double>(stored));
  disk_free_.Set(static_cast<double>(free));
  disk_.Set(static_cast<double>(capacity));
}
void Metrics::blob_bytes(const std::string& direction, double bytes) {
  blob_.Add({{"direction", direction}}).Increment(bytes);
}
void Metrics::stage_ended(const std::string& source, double saved_bytes, double saved_seconds) {
  stages_.Add({{"source", source}}).Increment();
  saved_bytes_.Increment(saved_bytes);
  saved_seconds_.Increment(saved_seconds);
}
void Metrics::stage_ran(const std::string& method, double seconds) {
  stage_seconds_.Add({{"method", methods_.of(method)}}, kWork).Observe(seconds);
}
void Metrics::stage_outputs(std::uint64_t count, std::uint64_t bytes) {
  outputs_.Set(static_cast<double>(count));
  output_bytes_.Set(static_cast<double>(bytes));
}
void Metrics::pool(std::size_t pending, std::size_t running, std::size_t ending, bool works) {
  pool_jobs_.Add({{"state", "pending"}}).Set(static_cast<double>(pending));
  pool_jobs_.Add({{"state", "running"}}).Set(static_cast<double>(running));
  pool_jobs_.Add({{"state", "ending"}}).Set(static_cast<double>(ending));
  pool_up_.Add({}).Set(works);
}
void Metrics::pool_failed(const std::string& reason) {
  pool_up_.Add({}).Set(0);
  pool_errors_.Add({{"reason", pool_reasons_.of(reason)}}).Increment();
}
void Metrics::rpc(const std::string& method, const std::string& code) {
  rpcs_.Add({{"method", method}, {"code", code}}).Increment();
}
void Metrics::rpc_took(const std::string& method, double seconds) {
  rpc_seconds_.Add({{"method", method}}, kCall).Observe(seconds);
}
void Metrics::http(const std::string& route, int status, double seconds) {
  https_.Add({{"route", route}, {"status", std::to_string(status)}}).Increment();
  http_seconds_.Add({{"route", route}}, kCall).Observe(seconds);
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace wring

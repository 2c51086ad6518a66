// Metrics by prometheus-cpp.
#include "server/http/metrics.h"

#include <prometheus/text_serializer.h>

namespace wring {
namespace {

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      submitted_(counters(*registry_, "wring_jobs_submitted_total", "Jobs accepted").Add({})),
      ended_(counters(*registry_, "wring_jobs_ended_total", "Jobs that reached a terminal state, by state")),
      leases_(counters(*registry_, "wring_leases_granted_total", "Leases given to workers").Add({})),
      stale_(counters(*registry_, "wring_stale_commits_refused_total",
                      "Commits refused because of an older fence")
                 .Add({})),
      blob_(counters(*registry_, "wring_blob_bytes_total", "Blob bytes moved, by direction")),
      rpcs_(counters(*registry_, "wring_rpcs_total", "RPCs answered, by method and status code")),
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
      queued_(gauge(*registry_, "wring_jobs_queued", "Jobs that wait for a worker")),
      running_(gauge(*registry_, "wring_jobs_running", "Jobs that a worker has leased")),
      workers_(gauge(*registry_, "wring_workers_connected",
                     "Workers seen within the last minute that do not drain")),
      outputs_(gauge(*registry_, "wring_stage_outputs", "Outputs of stages that projects keep")),
      output_bytes_(gauge(*registry_, "wring_stage_output_bytes",
                          "Bytes of these outputs, chunks that they share counted each time")) {}

void Metrics::job_ended(const std::string& state) {
  ended_.Add({{"state", state}}).Increment();
}
void Metrics::queue(std::size_t queued, std::size_t running, std::size_t workers) {
  queued_.Set(static_cast<double>(queued));
  running_.Set(static_cast<double>(running));
  workers_.Set(static_cast<double>(workers));
}
void Metrics::blob_bytes(const std::string& direction, double bytes) {
  blob_.Add({{"direction", direction}}).Increment(bytes);
}
void Metrics::stage_ended(const std::string& source, double saved_bytes, double saved_seconds) {
  stages_.Add({{"source", source}}).Increment();
  saved_bytes_.Increment(saved_bytes);
  saved_seconds_.Increment(saved_seconds);
}
void Metrics::stage_outputs(std::uint64_t count, std::uint64_t bytes) {
  outputs_.Set(static_cast<double>(count));
  output_bytes_.Set(static_cast<double>(bytes));
}
void Metrics::rpc(const std::string& method, const std::string& code) {
  rpcs_.Add({{"method", method}, {"code", code}}).Increment();
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace wring

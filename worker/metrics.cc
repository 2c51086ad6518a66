// Metrics by prometheus-cpp, served by its own small server.
#include "worker/metrics.h"

#include <utility>
#include <vector>

#include "common/error.h"

namespace wring {
namespace {

using prometheus::MetricType;

prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}
prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

std::string name_of(const std::string& kind, std::uint32_t index) {
  return kind + ":" + std::to_string(index);
}

// How much of each device is in use, as far as that is known.
std::vector<prometheus::MetricFamily> device_families(const std::vector<v1::DeviceUse>& devices) {
  prometheus::MetricFamily used{"wring_worker_device_used_bytes",
                                "Memory of a device that all programs of the machine use",
                                MetricType::Gauge,
                                {}},
      busy{"wring_worker_device_busy_ratio",
           "Share of the last seconds in which a device computed",
           MetricType::Gauge,
           {}};
  const auto add = [](prometheus::MetricFamily& family, const v1::DeviceUse& device, double value) {
    prometheus::ClientMetric metric;
    metric.label.push_back({"device", name_of(device.kind(), device.index())});
    metric.gauge.value = value;
    family.metric.push_back(std::move(metric));
  };
  for (const auto& device : devices) {
    if (device.has_memory_bytes()) add(used, device, static_cast<double>(device.memory_bytes()));
    if (device.has_busy()) add(busy, device, device.busy());
  }
  return {std::move(used), std::move(busy)};
}

prometheus::MetricFamily one(const char* name, const char* help, MetricType type, std::uint64_t value) {
  prometheus::ClientMetric metric;
  if (type == MetricType::Counter)
    metric.counter.value = static_cast<double>(value);
  else
    metric.gauge.value = static_cast<double>(value);
  return {name, help, type, {std::move(metric)}};
}

// The registry's, and the cache's and the devices' own figures as they are at the moment.
class OfTheMoment final : public prometheus::Collectable {
 public:
  OfTheMoment(std::shared_ptr<prometheus::Registry> registry, const Cache& cache, DeviceMeter& meter)
      : registry_(std::move(registry)), cache_(cache), meter_(meter) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    auto families = registry_->Collect();
    const CacheUse use = cache_.use();
    families.push_back(one("wring_worker_cache_bytes",
                           "Bytes of blobs, kept stages and snapshots in the cache", MetricType::Gauge,
                           use.bytes));
    families.push_back(
        one("wring_worker_cache_limit_bytes", "What --cache-bytes allows", MetricType::Gauge, use.limit));
    families.push_back(one("wring_worker_cache_claimed_bytes_total", "Bytes of blobs that jobs needed",
                           MetricType::Counter, use.claimed));
    families.push_back(one("wring_worker_cache_missed_bytes_total",
                           "Bytes of them that the cache lacked, and the server was asked for",
                           MetricType::Counter, use.missed));
    for (auto& family : device_families(meter_.read())) families.push_back(std::move(family));
    return families;
  }

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  const Cache& cache_;
  DeviceMeter& meter_;
};

}  // namespace

WorkerMetrics::WorkerMetrics(const v1::Worker& worker, const Cache& cache, DeviceMeter& meter)
    : registry_(std::make_shared<prometheus::Registry>()),
      collectable_(std::make_shared<OfTheMoment>(registry_, cache, meter)),
      attempts_(counters(*registry_, "wring_worker_attempts_total", "Attempts that ended, by outcome")),
      steps_(counters(*registry_, "wring_worker_steps_total",
                      "Stages and evaluations that ended, by source: made, or taken from the cache of this "
                      "worker or the project")),
      running_(gauge(*registry_, "wring_worker_jobs_running", "Jobs that this worker has")),
      engine_bytes_(gauge(*registry_, "wring_worker_engine_bytes",
                          "Anonymous and shared memory of the engine that runs; 0 where none does")) {
  auto& memory = prometheus::BuildGauge()
                     .Name("wring_worker_device_memory_bytes")
                     .Help("Memory of a device, or what --memory allows of it")
                     .Register(*registry_);
  for (const auto& device : worker.devices())
    memory.Add({{"device", name_of(device.kind(), device.index())}})
        .Set(static_cast<double>(device.memory_bytes()));
}

void WorkerMetrics::attempt_ended(const std::string& outcome) {
  running_.Set(0);
  engine_bytes_.Set(0);
  attempts_.Add({{"outcome", outcome.empty() ? "lost" : outcome}}).Increment();
}

void WorkerMetrics::step_ended(const v1::StageStatus& step) {
  steps_.Add({{"source", step.state() == "cached" ? step.cached_in() : "made"}}).Increment();
}

MetricsEndpoint::MetricsEndpoint(const Address& address, const WorkerMetrics& metrics) {
  const auto text = address.host + ":" + std::to_string(address.port);
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(text, 1);
  } catch (const std::exception&) {  // of civetweb, which says nothing
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE", "cannot listen on " + text, "--metrics",
                "An address of this machine and a free port, or port 0 for any.");
  }
  exposer_->RegisterCollectable(metrics.collectable());
}

int MetricsEndpoint::port() const {
  return exposer_->GetListeningPorts().front();
}

}  // namespace wring

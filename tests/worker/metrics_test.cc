// What a worker's /metrics says of its engine, its steps and its cache.
#include "worker/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "common/files.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::HasSubstr;

class WorkerMetricsTest : public testing::Test {
 protected:
  static v1::Worker worker() {
    v1::Worker worker;
    auto& device = *worker.add_devices();
    device.set_kind("cpu");
    device.set_memory_bytes(8'000'000'000);
    return worker;
  }
  std::string text() const {
    return prometheus::TextSerializer().Serialize(metrics.collectable()->Collect());
  }

  TempDir folder;
  Cache cache{folder.path(), 1000};
  DeviceMeter meter{worker(), {folder.path() / "proc", "", 0}};
  WorkerMetrics metrics{worker(), cache, meter};
};

TEST_F(WorkerMetricsTest, TellOfTheEngineWhileItRuns) {
  EXPECT_THAT(text(), HasSubstr("wring_worker_device_memory_bytes{device=\"cpu:0\"} 8000000000"));
  metrics.attempt_began();
  metrics.engine_memory(123);
  EXPECT_THAT(text(), HasSubstr("wring_worker_jobs_running 1"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_engine_bytes 123"));
  metrics.attempt_ended("");
  EXPECT_THAT(text(), HasSubstr("wring_worker_jobs_running 0"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_engine_bytes 0"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_attempts_total{outcome=\"lost\"} 1"));
}

TEST_F(WorkerMetricsTest, TellHowMuchOfADeviceIsInUseAsFarAsThatIsKnown) {
  EXPECT_THAT(text(), testing::Not(HasSubstr("wring_worker_device_used_bytes{")));
  std::filesystem::create_directories(folder.path() / "proc");
  write_file_atomic(folder.path() / "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
  write_file_atomic(folder.path() / "proc/stat", "cpu  10 0 0 30 0 0 0 0\n");
  EXPECT_THAT(text(), HasSubstr("wring_worker_device_used_bytes{device=\"cpu:0\"} 614400"));
  write_file_atomic(folder.path() / "proc/stat", "cpu  20 0 0 60 0 0 0 0\n");
  EXPECT_THAT(text(), HasSubstr("wring_worker_device_busy_ratio{device=\"cpu:0\"} 0.25"));
}

TEST_F(WorkerMetricsTest, TellStepsByWhereTheyCameFrom) {
  v1::StageStatus step;
  step.set_state("done");
  metrics.step_ended(step);
  step.set_state("cached");
  step.set_cached_in("project");
  metrics.step_ended(step);
  EXPECT_THAT(text(), HasSubstr("wring_worker_steps_total{source=\"made\"} 1"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_steps_total{source=\"project\"} 1"));
}

TEST_F(WorkerMetricsTest, TellWhatTheCacheLacked) {
  const std::string content = "a blob";
  const std::vector<BlobRef> blobs{{sha256(std::as_bytes(std::span(content))), 6}};
  {
    Cache::Hold hold(cache);
    cache.claim(blobs, hold);
  }
  EXPECT_THAT(text(), HasSubstr("wring_worker_cache_claimed_bytes_total 6"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_cache_missed_bytes_total 6"));
  EXPECT_THAT(text(), HasSubstr("wring_worker_cache_limit_bytes 1000"));
}

TEST_F(WorkerMetricsTest, AreServedWhereTheyCanBe) {
  const MetricsEndpoint endpoint({"127.0.0.1", 0}, metrics);
  EXPECT_GT(endpoint.port(), 0);
  const auto taken = static_cast<std::uint16_t>(endpoint.port());
  EXPECT_EQ(thrown_by([&] { MetricsEndpoint({"127.0.0.1", taken}, metrics); }).reason(), "ADDRESS_IN_USE");
}

}  // namespace
}  // namespace wring

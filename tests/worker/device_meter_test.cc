// What a worker says of its devices' use, from the kernel's files and a library in NVML's place.
#include "worker/device_meter.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "common/files.h"

namespace wring {
namespace {

const std::string kNvml = FAKE_NVML;

class DeviceMeterTest : public testing::Test {
 protected:
  v1::Device& add(const std::string& kind, const std::string& pci_bus_id = "") {
    auto& device = *worker.add_devices();
    device.set_kind(kind);
    device.set_pci_bus_id(pci_bus_id);
    return device;
  }
  void tell(const std::string& stat, const std::string& meminfo) {
    write_file_atomic(folder.path() / "stat", stat);
    write_file_atomic(folder.path() / "meminfo", meminfo);
  }
  MeterSources sources(const std::string& nvml = kNvml) { return {folder.path(), nvml, 0}; }

  v1::Worker worker;
  TempDir folder;
};

// user 100, nice 20, system 30, idle 700, iowait 50, irq 5, softirq 5, steal 90; guests are in user.
TEST_F(DeviceMeterTest, ProcessorsAreBusyByTheirTicksBetweenReadings) {
  add("cpu");
  tell("cpu  100 20 30 700 50 5 5 90 40 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
       "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  400 kB\n");
  DeviceMeter meter(worker, sources());
  auto use = meter.read().at(0);
  EXPECT_EQ(use.kind(), "cpu");
  EXPECT_EQ(use.memory_bytes(), 600u * 1024);
  EXPECT_EQ(use.total_memory_bytes(), 1000u * 1024);
  EXPECT_FALSE(use.has_busy());  // no time has passed
  tell("cpu  130 20 40 740 55 5 5 100 40 0\n", "MemTotal:  1000 kB\nMemAvailable:  900 kB\n");
  use = meter.read().at(0);
  EXPECT_DOUBLE_EQ(use.busy(), 40.0 / 95);
  EXPECT_EQ(use.memory_bytes(), 100u * 1024);
}

TEST_F(DeviceMeterTest, WhatAMachineDoesNotTellIsAbsent) {
  add("cpu");
  add("cuda", "0000:01:00.0");
  DeviceMeter meter(worker, sources("libabsent-ml.so.1"));
  for (const auto& use : meter.read()) {
    EXPECT_FALSE(use.has_memory_bytes());
    EXPECT_FALSE(use.has_busy());
  }
}

TEST_F(DeviceMeterTest, CudaDevicesAreFoundByTheirAddressWhateverTheirOrder) {
  add("cuda", "0000:02:00.0");
  add("cuda", "0000:01:00.0").set_index(1);
  add("cuda", "0000:03:00.0").set_index(2);
  DeviceMeter meter(worker, sources());
  const auto use = meter.read();
  EXPECT_EQ(use.at(0).memory_bytes(), 5'000'000'000u);
  EXPECT_FALSE(use.at(0).has_busy());
  EXPECT_EQ(use.at(1).index(), 1u);
  EXPECT_DOUBLE_EQ(use.at(1).busy(), 0.37);
  EXPECT_FALSE(use.at(2).has_memory_bytes());
}

TEST_F(DeviceMeterTest, NvmlIsBegunAndEndedOnceAndOnlyForCuda) {
  void* const library = ::dlopen(kNvml.c_str(), RTLD_NOW);
  ASSERT_NE(library, nullptr);
  const auto begun = reinterpret_cast<int (*)()>(::dlsym(library, "wring_fake_nvml_begun"));
  add("cpu");
  {
    const DeviceMeter meter(worker, sources());
    EXPECT_EQ(begun(), 0);
  }
  add("cuda", "0000:01:00.0");
  add("cuda", "0000:02:00.0");
  {
    const DeviceMeter meter(worker, sources());
    EXPECT_EQ(begun(), 1);
  }
  EXPECT_EQ(begun(), 0);
  ::dlclose(library);
}

TEST_F(DeviceMeterTest, ReadsThisMachine) {
  add("cpu");
  DeviceMeter meter(worker);
  EXPECT_GT(meter.read().at(0).memory_bytes(), 0u);
}

TEST_F(DeviceMeterTest, SaysAgainWhatItHasJustRead) {
  add("cpu");
  tell("cpu  1 1 1 1 1 1 1 1\n", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
  DeviceMeter meter(worker, {folder.path(), kNvml, 1e9});
  meter.read();
  tell("cpu  9 9 9 9 9 9 9 9\n", "MemTotal: 1000 kB\nMemAvailable: 100 kB\n");
  EXPECT_EQ(meter.read().at(0).memory_bytes(), 600u * 1024);
}

}  // namespace
}  // namespace wring

// How much of a worker's devices is in use, by whatever program: processors from /proc, CUDA devices from
// NVML.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "worker/nvml.h"
#include "wring/v1/workers.pb.h"

namespace wring {

struct MeterSources {
  std::filesystem::path proc = "/proc";
  std::string nvml = "libnvidia-ml.so.1";
  double rest_seconds = 1;  // what was read so recently is said again
};

// Any thread may call.
class DeviceMeter {
 public:
  explicit DeviceMeter(const v1::Worker& worker, const MeterSources& sources = {});

  // Of each device of the worker, in its order. Processors are busy by the share of their time since the
  // reading before that they did not idle; what a machine does not tell is absent.
  std::vector<v1::DeviceUse> read();

 private:
  struct Ticks {
    std::uint64_t all = 0, busy = 0;
  };
  std::optional<Ticks> ticks() const;
  v1::DeviceUse processors();

  const std::vector<v1::Device> devices_;
  const MeterSources sources_;
  std::optional<Nvml> nvml_;  // where there is a CUDA device
  std::mutex mutex_;
  std::optional<Ticks> before_;
  std::vector<v1::DeviceUse> newest_;
  Stopwatch since_newest_;
};

}  // namespace wring

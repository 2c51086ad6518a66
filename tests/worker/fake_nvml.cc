// In NVML's place in device_meter_test.cc: one device at 0000:01:00.0 that uses 5 GB and is busy by 37 %. One
// at 0000:02:00.0 does not say how busy it is, as a divided one. Knows nothing before it began.
#include <cstring>

namespace {
int begun = 0, first = 0, divided = 0;
constexpr int kUninitialized = 1, kNotSupported = 3, kNotFound = 6;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned int gpu, memory;
};
}  // namespace

extern "C" {
int nvmlInit_v2() {
  ++begun;
  return 0;
}
int nvmlShutdown() {
  --begun;
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  if (begun == 0) return kUninitialized;
  if (std::strcmp(address, "0000:01:00.0") == 0)
    *device = &first;
  else if (std::strcmp(address, "0000:02:00.0") == 0)
    *device = &divided;
  else
    return kNotFound;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void*, Memory* memory) {
  *memory = {8'000'000'000, 3'000'000'000, 5'000'000'000};
  return 0;
}
int nvmlDeviceGetUtilizationRates(void* device, Utilization* rates) {
  if (device == &divided) return kNotSupported;
  *rates = {37, 12};
  return 0;
}
int wring_fake_nvml_begun() {
  return begun;
}
}

// What this machine computes with: processor, accelerators, threads.
#include "engine/run/hardware.h"

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <malloc.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "common/cores.h"
#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

std::string processor_name() {
  const std::string info = read_file("/proc/cpuinfo", 16 << 20);
  const auto at = info.find("model name");
  if (at == std::string::npos) return "unknown processor";
  const auto start = info.find(": ", at), end = info.find('\n', at);
  return start < end ? info.substr(start + 2, end - start - 2) : "unknown processor";
}

// A "Name:   123 kB" line of a file below /proc, in bytes; 0 where there is none.
std::uint64_t kilobytes_of(const char* path, const char* name) {
  const std::string text = read_file(path, 1 << 20);
  const auto at = text.find(name);
  return at == std::string::npos ? 0
                                 : std::strtoull(text.c_str() + at + std::strlen(name), nullptr, 10) * 1024;
}

int cuda_device_count() {
  return at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
}

struct CudaDevice {
  std::string name = "cuda", pci_bus_id;
  std::uint64_t memory_bytes = 0;
  int major = 0, minor = 0;  // of its compute capability
};

// CUDA device `index` as its driver tells of it, so that no CUDA toolkit is needed.
CudaDevice describe_cuda(int index) {
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
  CudaDevice known;
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) return known;
  const auto call = [&](const char* name, auto... arguments) {
    auto* const function = reinterpret_cast<int (*)(decltype(arguments)...)>(::dlsym(driver, name));
    return function && function(arguments...) == 0;
  };
  int device = 0;
  char name[256] = "", bus[64] = "";
  std::size_t bytes = 0;
  if (!call("cuInit", 0U) || !call("cuDeviceGet", &device, index)) return known;
  if (call("cuDeviceGetName", static_cast<char*>(name), static_cast<int>(sizeof name), device))
    known.name = name;
  if (call("cuDeviceGetPCIBusId", static_cast<char*>(bus), static_cast<int>(sizeof bus), device))
    known.pci_bus_id = bus;
  if (call("cuDeviceTotalMem_v2", &bytes, device)) known.memory_bytes = bytes;
  call("cuDeviceGetAttribute", &known.major, kMajor, device);
  call("cuDeviceGetAttribute", &known.minor, kMinor, device);
  return known;
}

}  // namespace

Json list_devices() {
  Json devices = Json::array();
  devices.push_back({{"kind", "cpu"},
                     {"index", 0},
                     {"name", processor_name()},
                     {"memory_bytes", total_memory_bytes()},
                     {"threads", usable_cores()}});
  for (int i = 0; i < cuda_device_count(); ++i) {
    const auto device = describe_cuda(i);
    devices.push_back({{"kind", "cuda"},
                       {"index", i},
                       {"name", device.name},
                       {"memory_bytes", device.memory_bytes},
                       {"threads", 0},
                       {"pci_bus_id", device.pci_bus_id}});
  }
  return devices;
}

at::Device parse_device(const std::string& device) {
  if (device.empty() || device == "cpu") return at::kCPU;
  int index = -1;
  if (device == "cuda") index = 0;
  if (device.starts_with("cuda:") && device.size() <= 8) index = std::atoi(device.c_str() + 5);
  const int count = cuda_device_count();
  if (index < 0 || index >= count)
    throw Error(ErrorCode::kInvalidArgument, "NO_DEVICE", "there is no device '" + device + "' here",
                "device",
                count == 0 ? "This machine has cpu only."
                           : "cpu, or cuda:0 to cuda:" + std::to_string(count - 1) + ".");
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

void reset_peak_device_bytes(at::Device device) {
  auto* const allocator = device.is_cpu() ? nullptr : c10::getDeviceAllocator(device.type());
  if (allocator && allocator->initialized()) allocator->resetPeakStats(device.index());
}

std::uint64_t peak_device_bytes(at::Device device) {
  auto* const allocator = device.is_cpu() ? nullptr : c10::getDeviceAllocator(device.type());
  if (!allocator || !allocator->initialized()) return 0;
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<std::uint64_t>(allocator->getDeviceStats(device.index()).allocated_bytes[kAll].peak);
}

int set_threads(int threads) {
  if (threads <= 0) threads = usable_cores();
  at::set_num_threads(threads);
  return threads;
}

void fix_heap_thresholds() {
  constexpr int kOwnPages = 1 << 20;
  ::mallopt(M_MMAP_THRESHOLD, kOwnPages);
  ::mallopt(M_TRIM_THRESHOLD, 2 * kOwnPages);
}

KeptHeap::KeptHeap() {
  constexpr int kMost = 32 << 20;  // that glibc allows
  ::mallopt(M_MMAP_THRESHOLD, kMost);
  ::mallopt(M_TRIM_THRESHOLD, 16 * kMost);
}

void release_free_memory() {
  ::malloc_trim(0);
}

void reset_peak_resident_bytes() {
  // proc(5): the peak becomes what is resident now. Appended: the sandbox lets no file of /proc be cut short.
  std::ofstream("/proc/self/clear_refs", std::ios::app) << 5;
}

std::uint64_t peak_resident_bytes() {
  return kilobytes_of("/proc/self/status", "VmHWM:");
}

std::uint64_t resident_bytes() {
  return kilobytes_of("/proc/self/status", "VmRSS:");
}

std::uint64_t anonymous_bytes() {
  return kilobytes_of("/proc/self/status", "RssAnon:");
}

std::uint64_t total_memory_bytes() {
  const auto machine = kilobytes_of("/proc/meminfo", "MemTotal:");
  std::uint64_t container = 0;  // "max": no limit of its own
  std::ifstream("/sys/fs/cgroup/memory.max") >> container;
  return container > 0 ? std::min(machine, container) : machine;
}

std::string hardware_name(const std::string& device, int threads) {
  if (device == "cpu") return "cpu: " + processor_name() + ", " + std::to_string(threads) + " threads";
  return device + ": " + describe_cuda(parse_device(device).index()).name;
}

std::string kernel_level(const std::string& device) {
  const std::string library = " torch " + std::string(TORCH_VERSION);
  if (device != "cpu") {
    const auto colon = device.find(':');
    const auto cuda = describe_cuda(colon == std::string::npos ? 0 : std::atoi(device.c_str() + colon + 1));
    return "sm" + std::to_string(cuda.major) + std::to_string(cuda.minor) + library;
  }
  __builtin_cpu_init();
  // The libraries choose their kernels by the maker, too.
  const char* const maker = __builtin_cpu_is("intel") ? "intel " : __builtin_cpu_is("amd") ? "amd " : "";
  const char* const set = !__builtin_cpu_supports("avx512f")
                              ? __builtin_cpu_supports("avx2") ? "avx2" : "baseline"
                          : __builtin_cpu_supports("avx512bf16") ? "avx512-bf16"
                                                                 : "avx512";
  return maker + (set + library);
}

}  // namespace wring

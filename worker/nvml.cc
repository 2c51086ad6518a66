// The five functions of NVML's ABI that are called, declared here: no header of it is needed to build.
#include "worker/nvml.h"

#include <dlfcn.h>

namespace wring {
namespace {

using Device = void*;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned int gpu, memory;  // per cent
};
constexpr int kSuccess = 0;

}  // namespace

struct Nvml::Library {
  void* handle = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*find)(const char*, Device*) = nullptr;
  int (*memory)(Device, Memory*) = nullptr;
  int (*utilization)(Device, Utilization*) = nullptr;

  explicit Library(const std::string& name) : handle(::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle) return;
    load(init, "nvmlInit_v2");
    load(shutdown, "nvmlShutdown");
    load(find, "nvmlDeviceGetHandleByPciBusId_v2");
    load(memory, "nvmlDeviceGetMemoryInfo");
    load(utilization, "nvmlDeviceGetUtilizationRates");
  }
  ~Library() {
    if (handle) ::dlclose(handle);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  bool is_whole() const { return init && shutdown && find && memory && utilization; }

 private:
  template <typename Function>
  void load(Function& function, const char* symbol) {
    function = reinterpret_cast<Function>(::dlsym(handle, symbol));
  }
};

Nvml::Nvml(const std::string& library) : library_(std::make_unique<Library>(library)) {
  if (!library_->is_whole() || library_->init() != kSuccess) library_.reset();
}

Nvml::~Nvml() {
  if (library_) library_->shutdown();
}

Nvml::Use Nvml::use(const std::string& pci_bus_id) const {
  Use use;
  Device device = nullptr;
  if (!library_ || library_->find(pci_bus_id.c_str(), &device) != kSuccess) return use;
  if (Memory memory{}; library_->memory(device, &memory) == kSuccess) use.memory_bytes = memory.used;
  if (Utilization rates{}; library_->utilization(device, &rates) == kSuccess) use.busy = rates.gpu / 100.0;
  return use;
}

}  // namespace wring

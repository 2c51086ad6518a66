// What NVIDIA's driver knows of its devices (NVML): its library is opened when a worker starts, where it is
// installed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace wring {

// Any thread may call.
class Nvml {
 public:
  // `library`: as dlopen(3) takes it. Where it cannot be opened, or does not begin, nothing is known.
  explicit Nvml(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  struct Use {
    std::optional<std::uint64_t> memory_bytes;  // of all processes
    std::optional<double> busy;                 // share of the driver's last sample in which a kernel ran
  };
  // Of the device at this PCI address, "0000:01:00.0".
  Use use(const std::string& pci_bus_id) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;  // none: nothing is known
};

}  // namespace wring

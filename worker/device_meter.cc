// Readings of /proc/stat, /proc/meminfo and NVML.
#include "worker/device_meter.h"

#include <cstdio>
#include <cstdlib>

#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

std::string text_of(const std::filesystem::path& path) {
  try {
    return read_file(path, 16 << 20);
  } catch (const Error&) {
    return "";
  }
}

// A "Name:   123 kB" line, in bytes.
std::optional<std::uint64_t> kilobytes(const std::string& text, const std::string& name) {
  const auto at = text.find(name);
  if (at == std::string::npos) return std::nullopt;
  return std::strtoull(text.c_str() + at + name.size(), nullptr, 10) * 1024;
}

}  // namespace

DeviceMeter::DeviceMeter(const v1::Worker& worker, const MeterSources& sources)
    : devices_(worker.devices().begin(), worker.devices().end()), sources_(sources), before_(ticks()) {
  for (const auto& device : devices_)
    if (device.kind() == "cuda" && !nvml_) nvml_.emplace(sources_.nvml);
}

std::vector<v1::DeviceUse> DeviceMeter::read() {
  const std::lock_guard lock(mutex_);
  if (!newest_.empty() && since_newest_.seconds() < sources_.rest_seconds) return newest_;
  newest_.clear();
  for (const auto& device : devices_) {
    auto use = device.kind() == "cpu" ? processors() : v1::DeviceUse();
    use.set_kind(device.kind());
    use.set_index(device.index());
    if (device.kind() == "cuda") {
      const auto told = nvml_->use(device.pci_bus_id());
      if (told.memory_bytes) use.set_memory_bytes(*told.memory_bytes);
      if (told.busy) use.set_busy(*told.busy);
    }
    newest_.push_back(std::move(use));
  }
  since_newest_ = Stopwatch();
  return newest_;
}

// proc(5): user, nice, system, idle, iowait, irq, softirq and steal, the time that another machine had.
std::optional<DeviceMeter::Ticks> DeviceMeter::ticks() const {
  unsigned long long t[8] = {};
  if (std::sscanf(text_of(sources_.proc / "stat").c_str(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu",
                  &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) != 8)
    return std::nullopt;
  const auto busy = t[0] + t[1] + t[2] + t[5] + t[6];
  return Ticks{busy + t[3] + t[4] + t[7], busy};
}

v1::DeviceUse DeviceMeter::processors() {
  v1::DeviceUse use;
  const auto memory = text_of(sources_.proc / "meminfo");
  const auto all = kilobytes(memory, "MemTotal:"), free = kilobytes(memory, "MemAvailable:");
  if (all) use.set_total_memory_bytes(*all);
  if (all && free && *free <= *all) use.set_memory_bytes(*all - *free);
  const auto now = ticks();
  if (now && before_ && now->all > before_->all && now->busy >= before_->busy)
    use.set_busy(static_cast<double>(now->busy - before_->busy) /
                 static_cast<double>(now->all - before_->all));
  before_ = now;
  return use;
}

}  // namespace wring

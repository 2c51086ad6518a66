// How long work says how far it is, and learns that it should stop.
#pragma once

#include <cstdint>
#include <string>

namespace wring {

// Where long work reports. report() throws Error(kCancelled, "CANCELLED") once the job was cancelled.
class Progress {
 public:
  virtual ~Progress() = default;

  // `done` of `total` `unit`s ("blocks", "windows"); `metric` names what `value` measures ("layer error"), or
  // is empty.
  virtual void report(std::uint64_t done, std::uint64_t total, const std::string& unit,
                      const std::string& metric = {}, double value = 0) = 0;
};

// Reports to no one.
class NoProgress final : public Progress {
 public:
  void report(std::uint64_t, std::uint64_t, const std::string&, const std::string&, double) override {}
};

}  // namespace wring

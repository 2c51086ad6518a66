// Progress that breaks a run off when it reports one point, as a kill there would.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/error.h"
#include "engine/run/progress.h"

namespace wring {

class Killer final : public Progress {
 public:
  static constexpr std::uint64_t kNever = ~0ull;

  explicit Killer(std::uint64_t last) : last_(last) {}
  void report(std::uint64_t done, std::uint64_t, const std::string&, const std::string&, double) override {
    first_ = std::min(first_, done);
    if (done == last_) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
  }
  std::uint64_t first() const { return first_; }  // what it reported first, which tells where it began

 private:
  std::uint64_t last_, first_ = ~0ull;
};

}  // namespace wring

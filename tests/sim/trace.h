// What happened in a world: a hash that tells two runs apart, counts, and lines for people where asked for.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/clock.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"

namespace wring::sim {

struct Counts {
  std::array<std::uint64_t, kFaultKinds> faults{};
  std::uint64_t events = 0, steps = 0, refusals = 0, commits = 0, recoveries = 0, jobs = 0, leases = 0;
  std::uint64_t succeeded = 0, failed = 0, cancelled = 0, simulated_ms = 0;
  void add(const Counts& other);
};

class Trace {
 public:
  explicit Trace(bool on) : on_(on) {}

  void mix(std::uint64_t value) { hash_ = Random::mix(hash_ ^ value) + 0x9e3779b97f4a7c15ull; }
  std::uint64_t hash() const { return hash_; }

  bool on() const { return on_; }
  // `about`: the job or worker that the line is about; empty: the whole world.
  void note(TimeMs at, const std::string& about, std::string text) {
    if (on_) lines_.push_back({at, about, std::move(text)});
  }
  // The last `most` lines about `job`, the workers that held it, and the world.
  std::vector<std::string> about(const std::string& job, std::size_t most) const;

 private:
  struct Line {
    TimeMs at;
    std::string about, text;
  };
  bool on_;
  std::uint64_t hash_ = 0;
  std::vector<Line> lines_;
};

}  // namespace wring::sim

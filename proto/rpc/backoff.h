// How long to wait before the next try: growing, bounded, and never the same for two processes.
#pragma once

#include <algorithm>
#include <random>

namespace wring {

// One thread.
class Backoff {
 public:
  // From `first` seconds, doubled each time, up to `most`; each wait is 50 % to 100 % of that.
  explicit Backoff(double first = 0.05, double most = 2) : first_(first), most_(most), next_(first) {}

  double next_seconds() {
    const double wait = next_ * std::uniform_real_distribution(0.5, 1.0)(random_);
    next_ = std::min(2 * next_, most_);
    return wait;
  }
  void reset() { next_ = first_; }

 private:
  double first_, most_, next_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace wring

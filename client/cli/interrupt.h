// Ctrl-C while something is followed: the following ends, what is followed goes on.
#pragma once

#include <csignal>

namespace wring {

// Ctrl-C during its life sets seen() instead of ending the process. One at a time.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope() { ::sigaction(SIGINT, &before_, nullptr); }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  bool seen() const;

 private:
  struct sigaction before_ {};
};

}  // namespace wring

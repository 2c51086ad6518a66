// The one handler.
#include "client/cli/interrupt.h"

#include <atomic>

namespace wring {
namespace {

std::atomic<bool> interrupted{false};

}  // namespace

InterruptScope::InterruptScope() {
  interrupted = false;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, &before_);
}

bool InterruptScope::seen() const {
  return interrupted;
}

}  // namespace wring

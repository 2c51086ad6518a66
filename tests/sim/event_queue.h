// What happens when: the one order of everything in a simulated world.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "common/clock.h"

namespace wring::sim {

// `actor` is told `kind` and `what`, unless it has died since (another generation).
struct Event {
  TimeMs at = 0;
  std::uint64_t number = 0;  // order among those of one moment
  std::uint32_t actor = 0, generation = 0, kind = 0;
  std::uint64_t what = 0;
};

class EventQueue {
 public:
  void push(Event event) {
    event.number = ++pushed_;
    events_.push(event);
  }
  Event pop() {
    const Event event = events_.top();
    events_.pop();
    return event;
  }
  bool empty() const { return events_.empty(); }

 private:
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.at != b.at ? a.at > b.at : a.number > b.number;
    }
  };
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::uint64_t pushed_ = 0;
};

}  // namespace wring::sim

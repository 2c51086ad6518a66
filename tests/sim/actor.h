// Those that live in a world: each is told its events, may die (its later events are then void) and may
// pause.
#pragma once

#include <cstdint>
#include <vector>

#include "common/clock.h"
#include "tests/sim/messages.h"

namespace wring::sim {

class World;

class Actor {
 public:
  Actor(World& world, std::uint32_t id) : world_(world), id_(id) {}
  virtual ~Actor() = default;
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  virtual void on_event(std::uint32_t kind, std::uint64_t what) = 0;

  std::uint32_t id() const { return id_; }
  std::uint32_t generation() const { return generation_; }
  TimeMs paused_until() const { return paused_until_; }
  void pause(TimeMs until) { paused_until_ = until; }

 protected:
  void after(TimeMs delay, std::uint32_t kind, std::uint64_t what = 0);

  World& world_;
  const std::uint32_t id_;
  std::uint32_t generation_ = 0;
  TimeMs paused_until_ = 0;
};

// One that calls the coordinator: every call is answered once, at the latest by its deadline.
class CallingActor : public Actor {
 public:
  using Actor::Actor;
  void receive(std::uint64_t call, Answer answer);

 protected:
  static constexpr std::uint32_t kTimeout = 0;  // the event kinds of its heirs begin at 1

  std::uint64_t call(Request request, TimeMs deadline_ms);
  virtual void on_answer(std::uint64_t call, Answer answer) = 0;
  void hang_up(std::uint64_t call);  // no answer is awaited any more
  void hang_up_all();
  void time_out(std::uint64_t call);

 private:
  std::uint64_t calls_ = 0;
  std::vector<std::uint64_t> open_;
};

}  // namespace wring::sim

// Calls and their deadlines.
#include "tests/sim/actor.h"

#include <algorithm>
#include <utility>

#include "tests/sim/world.h"

namespace wring::sim {

void Actor::after(TimeMs delay, std::uint32_t kind, std::uint64_t what) {
  world_.queue.push({world_.now + delay, 0, id_, generation_, kind, what});
}

std::uint64_t CallingActor::call(Request request, TimeMs deadline_ms) {
  const auto number = ++calls_;
  open_.push_back(number);
  world_.network.ask({id_, generation_, number}, std::move(request));
  after(deadline_ms, kTimeout, number);
  return number;
}

void CallingActor::receive(std::uint64_t call, Answer answer) {
  const auto it = std::find(open_.begin(), open_.end(), call);
  if (it == open_.end()) return;  // too late, or a second copy
  open_.erase(it);
  on_answer(call, std::move(answer));
}

void CallingActor::hang_up(std::uint64_t call) {
  if (std::erase(open_, call) > 0) world_.network.ask({id_, generation_, call}, HangUp{call});
}

void CallingActor::hang_up_all() {
  while (!open_.empty()) hang_up(open_.back());
}

void CallingActor::time_out(std::uint64_t call) {
  if (std::find(open_.begin(), open_.end(), call) == open_.end()) return;
  hang_up(call);
  Answer answer;
  answer.away = true;
  on_answer(call, std::move(answer));
}

}  // namespace wring::sim

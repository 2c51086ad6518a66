// A message's way.
#include "tests/sim/network.h"

#include <utility>

#include "tests/sim/world.h"

namespace wring::sim {

void Network::ask(const Caller& from, Request request) {
  send({from, std::move(request)});
}

void Network::answer(const Caller& to, Answer answer) {
  if (!answer.away && world_.strikes(Fault::kToldFailed, world_.plan.told_failed)) {
    answer = {};
    answer.away = true;
  }
  send({to, std::move(answer)});
}

void Network::reset(const Caller& to) {
  if (!world_.random.chance(0.8)) return;  // the caller only finds out by its deadline
  Answer answer;
  answer.away = true;
  send({to, std::move(answer)});
}

bool Network::is_cut(std::uint32_t actor) const {
  const auto it = cut_.find(actor);
  return it != cut_.end() && it->second > world_.now;
}

void Network::send(Message message) {
  if (is_cut(message.caller.actor) || world_.strikes(Fault::kLoss, world_.plan.loss)) return;
  const bool twice = world_.strikes(Fault::kDuplicate, world_.plan.duplicate);
  for (int copy = 0; copy < 1 + twice; ++copy) {
    TimeMs delay = world_.random.between(0, 8);
    if (world_.strikes(Fault::kDelay, world_.plan.delay))
      delay += world_.random.chance(0.5) ? world_.random.between(0, 500) : world_.random.between(0, 20'000);
    after(delay, 0, copy < twice ? keep(message) : keep(std::move(message)));
  }
}

std::uint64_t Network::keep(Message message) {
  if (free_.empty()) {
    messages_.push_back(std::move(message));
    return messages_.size() - 1;
  }
  const auto place = free_.back();
  free_.pop_back();
  messages_[place] = std::move(message);
  return place;
}

void Network::on_event(std::uint32_t, std::uint64_t what) {
  Message message = std::move(messages_[what]);
  free_.push_back(what);
  deliver(std::move(message));
}

void Network::deliver(Message message) {
  const Caller& caller = message.caller;
  if (is_cut(caller.actor)) return;
  if (auto* request = std::get_if<Request>(&message.body)) {
    if (world_.coordinator.up())
      world_.coordinator.receive(caller, std::move(*request));
    else
      reset(caller);
    return;
  }
  auto& actor = world_.caller(caller.actor);
  if (actor.generation() != caller.generation) return;  // nobody there any more
  if (actor.paused_until() > world_.now) {
    world_.queue.push({actor.paused_until(), 0, id_, generation_, 0, keep(std::move(message))});
    return;
  }
  actor.receive(caller.call, std::move(std::get<Answer>(message.body)));
}

}  // namespace wring::sim

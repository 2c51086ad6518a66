// The simulated network between callers and the coordinator: late, lossy, out of order, cut for a while.
#pragma once

#include <cstdint>
#include <map>
#include <variant>
#include <vector>

#include "tests/sim/actor.h"
#include "tests/sim/messages.h"

namespace wring::sim {

class Network final : public Actor {
 public:
  using Actor::Actor;
  void on_event(std::uint32_t kind, std::uint64_t what) override;

  void ask(const Caller& from, Request request);
  void answer(const Caller& to, Answer answer);
  void reset(const Caller& to);  // the coordinator's end of the connection is gone
  void cut(std::uint32_t actor, TimeMs until) { cut_[actor] = until; }

 private:
  struct Message {
    Caller caller;
    std::variant<Request, Answer> body;
  };
  bool is_cut(std::uint32_t actor) const;
  void send(Message message);
  void deliver(Message message);
  std::uint64_t keep(Message message);

  std::vector<Message> messages_;  // on their way
  std::vector<std::uint64_t> free_;
  std::map<std::uint32_t, TimeMs> cut_;
};

}  // namespace wring::sim

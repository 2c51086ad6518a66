// The coordinator as an actor: the production ledger, driven as server/api/coordinator*.cc drives it, with
// answers that wait for the simulated disk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/scheduler/ledger.h"
#include "tests/sim/actor.h"
#include "tests/sim/storage.h"

namespace wring::sim {

class SimCoordinator final : public Actor {
 public:
  using Actor::Actor;
  void on_event(std::uint32_t kind, std::uint64_t what) override;

  void start();
  void crash(const char* when);
  bool up() const { return ledger_.has_value(); }
  void receive(const Caller& caller, Request request);
  void on_stored(Waiting waiting);
  const Ledger& ledger() const { return *ledger_; }

 private:
  enum Kind : std::uint32_t { kTick, kWake, kPoll, kStart, kLook };
  struct Lease {  // a worker's long poll
    Caller caller;
    LeaseCall call;
    TimeMs until = 0, poll_at = 0;
    bool gone = false;
    bool stepping = false;  // its step is on the way to the disk
  };
  struct Watch {
    Caller caller;
    WatchCall call;
    std::uint64_t number = 0;
  };

  void handle(const Caller& caller, const SubmitCall& call);
  void handle(const Caller& caller, const CancelCall& call);
  void handle(const Caller& caller, const RetryCall& call);
  void handle(const Caller& caller, const PauseJobCall& call);
  void handle(const Caller& caller, const DeleteCall& call);
  void handle(const Caller& caller, const WatchCall& call);
  void handle(const Caller& caller, const PauseProjectInput& input);
  void handle(const Caller& caller, const PauseWorkerInput& input);
  void handle(const Caller& caller, const QuotaInput& input);
  void handle(const Caller& caller, const RegisterInput& input);
  void handle(const Caller& caller, const LeaseCall& call);
  void handle(const Caller& caller, const RenewInput& input);
  void handle(const Caller& caller, const StageInput& input);
  void handle(const Caller& caller, const FinishInput& input);
  void handle(const Caller& caller, const HangUp& call);

  // Coordinator::apply up to the disk. Returns whether the outcome goes there; on_stored() goes on then.
  bool apply(const SchedulerInput& input, Waiting& waiting, Batch batch = {}, const std::string& job = {},
             const std::string& etag = {});
  void apply_and_answer(const SchedulerInput& input, Waiting waiting, Batch batch = {},
                        const std::string& job = {}, const std::string& etag = {});
  LedgerEntry step(const SchedulerInput& input, const std::string& job, const std::string& etag);
  void try_lease(std::uint64_t number);
  void wait_on(std::uint64_t number);
  void poll(std::uint64_t number);
  void leased(const Waiting& waiting);
  bool tell(const Watch& watch);
  void tell_watches(const std::string& job);
  void look(std::uint64_t number);
  void end_submit(const std::string& request_id);
  void answer_job(const Caller& caller, const std::string& job);
  void refuse(const Caller& caller, const std::string& reason);

  std::optional<Ledger> ledger_;
  using CallOf = std::tuple<std::uint32_t, std::uint32_t, std::uint64_t>;  // actor, generation, call
  static CallOf call_of(const Caller& caller) { return {caller.actor, caller.generation, caller.call}; }
  void forget_lease(std::uint64_t number);

  std::map<std::uint64_t, Lease> leases_;
  std::multimap<CallOf, std::uint64_t> lease_of_call_;
  std::multimap<std::string, Watch> watches_;          // by job
  std::map<std::uint64_t, std::string> job_of_watch_;  // by number
  std::uint64_t lease_calls_ = 0, watch_calls_ = 0, ids_ = 0;
  bool wake_is_due_ = false;
  std::vector<std::pair<Caller, SubmitCall>> blocked_;  // wait for an equal request id
};

}  // namespace wring::sim

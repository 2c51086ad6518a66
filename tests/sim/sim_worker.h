// A worker, as worker/agent.cc, lease_keeper.cc and attempt.cc behave towards the coordinator.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "tests/sim/actor.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"

namespace wring::sim {

// Its main loop registers, leases, runs the attempt and tells its end until that is answered; its keeper
// sends stage reports in order, and heartbeats when they are due.
class SimWorker final : public CallingActor {
 public:
  SimWorker(World& world, std::uint32_t id, std::uint32_t index);
  void on_event(std::uint32_t kind, std::uint64_t what) override;

  void start();
  void kill();
  void drain();
  const std::string& name() const { return record_.id; }

 private:
  enum Kind : std::uint32_t {
    kStart = 1,
    kAgain,
    kStage,
    kEngineStopped,
    kKeep,
    kDrainTimeUp,
    kLimit,
    kLeave
  };
  enum class Main { kGone, kRegistering, kLeasing, kRunning, kFlushing, kFinishing };
  enum class Stop { kNone, kLost, kCancel, kDrain };
  struct Attempt {
    JobRecord job;
    JobPlan plan;
    Ending ending = Ending::kSuccess;
    std::uint32_t stage = 0, last_stage = 0;  // it ends in last_stage where it does not succeed
    bool in_stage = false;
    Stop stop = Stop::kNone;
    std::deque<StageInput> reports;  // not taken yet
    FinishInput end;
  };

  void on_answer(std::uint64_t call, Answer answer) override;

  void register_worker();
  void lease();
  void on_lease(Answer answer);
  void begin(JobRecord job);
  void stage();
  void report(std::uint32_t index, const char* state);
  void engine_failed();
  void run_out();
  void finish(const std::string& outcome);
  void tell_end();
  void on_told(const Answer& answer);
  void end_attempt();
  void stop(Stop reason);
  void engine_stopped();
  void leave(TimeMs back_after);

  void keep();
  void keep_at(TimeMs delay);
  void on_report(const Answer& answer);
  void on_heartbeat(const Answer& answer);
  TimeMs backoff(TimeMs& next, TimeMs first, TimeMs most);

  const std::uint32_t index_;
  WorkerRecord record_;
  Random random_;
  std::set<std::pair<std::string, std::uint32_t>> cache_;  // finished stages; outlives the process

  Main main_ = Main::kGone;
  bool draining_ = false;
  std::optional<Attempt> attempt_;
  std::uint64_t attempts_ = 0, token_ = 0;  // a timer with an older token is void
  std::uint64_t main_call_ = 0;
  TimeMs main_backoff_ = 0;

  std::uint64_t keeper_call_ = 0, keeper_attempt_ = 0, keeper_token_ = 0;
  bool keeper_reports_ = false, keeper_registers_ = false;
  TimeMs keeper_backoff_ = 0, heartbeat_due_ = 0;
};

}  // namespace wring::sim

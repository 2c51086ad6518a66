// A world from a seed: one coordinator, its disk, the network, workers, clients, and the faults that befall
// them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/invariants.h"
#include "tests/sim/network.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/storage.h"
#include "tests/sim/trace.h"

namespace wring::sim {

class SimWorker;
class SimClient;

// The artifact that a success of this job hands in.
inline std::string result_of(const std::string& job) {
  return "result-" + job;
}

// Deterministic: equal plans give equal traces. One thread.
class World {
 public:
  World(const Plan& world_plan, bool traced);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Until all has ended. Throws Violation.
  void run();

  TimeMs wall() const { return now + clock_offset_; }  // the coordinator's clock
  bool faulty() const { return now < plan.faults_end; }
  // Whether a fault with this probability strikes now; counts it.
  bool strikes(Fault fault, double probability);
  std::uint32_t plan_of(const std::string& job) const { return storage.plan_of(job); }

  CallingActor& caller(std::uint32_t actor);
  void note(const std::string& job, const std::string& text) { trace.note(now, job, text); }
  void trace_event(const JobEvent& event);
  void trace_record(const JobRecord& record);

  const Plan plan;
  TimeMs now = 0;
  Random random;
  EventQueue queue;
  Trace trace;
  Counts counts;
  Network network;
  Storage storage;
  SimCoordinator coordinator;
  Invariants invariants;

 private:
  void dispatch(const Event& event);
  Actor& actor(std::uint32_t id);
  void schedule_faults();
  void strike(Fault fault);
  void jump(TimeMs by);
  void back_up_or_restore();
  bool is_over() const;
  void finish();

  TimeMs clock_offset_ = 1'700'000'000'000;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::vector<std::unique_ptr<SimClient>> clients_;
};

}  // namespace wring::sim

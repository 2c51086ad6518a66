// A client: submits its jobs until that is acknowledged, cancels some, retries some, asks some again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/actor.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"

namespace wring::sim {

class SimClient final : public CallingActor {
 public:
  SimClient(World& world, std::uint32_t id, std::uint32_t index);
  void on_event(std::uint32_t kind, std::uint64_t what) override;

  void start();
  bool done() const { return open_ == 0; }

 private:
  enum Kind : std::uint32_t { kAct = 1 };
  enum class Act { kSubmit, kSubmitAgain, kReuse, kCancel, kRetry, kPause, kResume, kQuota, kDelete, kWatch };
  // One thing to do, tried until it is answered.
  struct Task {
    Act act = Act::kSubmit;
    std::uint32_t job = 0;             // index of the JobPlan
    std::optional<PausePlan> of = {};  // what is paused where it is no job
    int tries = 0;
    bool with_etag = false;
    std::optional<QuotaInput> quota = {};
    std::string job_id = {};            // that is watched
    std::vector<JobEvent> events = {};  // that the watch has seen
  };

  void on_answer(std::uint64_t call, Answer answer) override;
  void add(TimeMs at, Task task);
  void add_pause(TimeMs at, TimeMs length, const Task& task);
  void act(std::uint64_t task);
  void submit(std::uint64_t task);
  Request request(const Task& task) const;
  void on_done(Task& task, const Answer& answer);
  bool tries_again(Task& task, const Answer& answer) const;
  bool watches_on(Task& task, const Answer& answer) const;

  const std::uint32_t index_;
  Random random_;
  std::vector<Task> tasks_;
  std::map<std::uint64_t, std::uint64_t> task_of_call_;
  std::map<std::uint32_t, Answer> jobs_;  // the newest answer about each
  std::set<std::uint32_t> pause_told_;    // jobs: a quota holds a submit up, and its pause with it
  std::uint64_t open_ = 0;
};

}  // namespace wring::sim

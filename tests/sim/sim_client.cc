// What a client does, and what it makes of the answers.
#include "tests/sim/sim_client.h"

#include <algorithm>
#include <utility>

#include "tests/sim/world.h"

namespace wring::sim {

SimClient::SimClient(World& world, std::uint32_t id, std::uint32_t index)
    : CallingActor(world, id), index_(index), random_(world.plan.seed, 2'000'000 + index) {}

void SimClient::start() {
  for (std::uint32_t job = index_; job < world_.plan.jobs; job += world_.plan.clients) {
    const JobPlan plan = world_.plan.job(job);
    add(plan.submit_at, {Act::kSubmit, job});
    if (plan.submit_again) add(plan.submit_at + random_.between(0, 3'000), {Act::kSubmitAgain, job});
    if (plan.reuse_request) add(plan.submit_at + random_.between(0, 3'000), {Act::kReuse, job});
    if (plan.cancel_at >= 0) add(plan.cancel_at, {Act::kCancel, job, {}, 0, plan.cancel_with_etag});
    if (plan.retry_at >= 0) add(plan.retry_at, {Act::kRetry, job});
    if (plan.delete_at >= 0) add(plan.delete_at, {Act::kDelete, job, {}, 0, plan.delete_with_etag});
    if (plan.watched) add(plan.submit_at, {Act::kWatch, job});
    if (plan.pause_at >= 0) add_pause(plan.pause_at, random_.between(0, 10'000), {Act::kPause, job});
  }
  if (index_ > 0) return;
  for (const auto& pause : world_.plan.pauses()) add_pause(pause.at, pause.length, {Act::kPause, 0, pause});
  for (const auto& quota : world_.plan.quotas()) {
    Task task{Act::kQuota, 0};
    task.quota = quota.input;
    add(quota.at, std::move(task));
  }
}

// A pause may come late and twice, also after its end: what is paused is resumed once more when nothing is
// late any more.
void SimClient::add_pause(TimeMs at, TimeMs length, const Task& task) {
  Task resume = task;
  resume.act = Act::kResume;
  add(at, task);
  add(at + length, resume);
  add(std::max(at + length, world_.plan.settled()) + 1'000, resume);
}

void SimClient::add(TimeMs at, Task task) {
  tasks_.push_back(std::move(task));
  ++open_;
  after(at, kAct, tasks_.size() - 1);
}

void SimClient::on_event(std::uint32_t kind, std::uint64_t what) {
  if (kind == kTimeout) return time_out(what);
  act(what);
}

void SimClient::act(std::uint64_t number) {
  Task& task = tasks_[number];
  const auto known = jobs_.find(task.job);
  if (task.act == Act::kSubmit || task.act == Act::kSubmitAgain) return submit(number);
  if (known == jobs_.end() && !task.of && !task.quota) return after(500, kAct, number);  // not submitted yet
  if (task.act == Act::kReuse) return submit(number);
  if (task.act == Act::kResume && !task.of && !pause_told_.contains(task.job))
    return after(500, kAct, number);
  ++task.tries;
  if (task.job_id.empty() && known != jobs_.end()) task.job_id = known->second.job;
  task_of_call_[call(request(task), 10'000)] = number;
}

Request SimClient::request(const Task& task) const {
  const bool pauses = task.act == Act::kPause;
  if (task.quota) return *task.quota;
  if (task.of && task.of->kind == PauseRecord::Kind::kProject)
    return PauseProjectInput{task.of->name, pauses};
  if (task.of) return PauseWorkerInput{task.of->name, pauses};
  const Answer& known = jobs_.at(task.job);
  const std::string etag = task.with_etag ? std::to_string(known.version) : "";
  if (task.act == Act::kCancel) return CancelCall{known.job, etag};
  if (task.act == Act::kRetry) return RetryCall{known.job, etag};
  if (task.act == Act::kDelete) return DeleteCall{known.job, etag};
  if (task.act == Act::kWatch) return WatchCall{task.job_id, task.events.size()};
  return PauseJobCall{known.job, pauses};
}

void SimClient::submit(std::uint64_t number) {
  const Task& task = tasks_[number];
  const JobPlan plan = world_.plan.job(task.job);
  const char* const digest = task.act == Act::kReuse ? "another" : "the same";
  task_of_call_[call(
      SubmitCall{"r" + std::to_string(task.job), digest, task.job, plan.needs, plan.max_attempts,
                 plan.priority, plan.project, plan.queued_timeout, plan.total_timeout, plan.max_runtime},
      10'000)] = number;
}

void SimClient::on_answer(std::uint64_t call, Answer answer) {
  const auto it = task_of_call_.find(call);
  const auto number = it->second;
  task_of_call_.erase(it);
  Task& task = tasks_[number];
  if (task.act == Act::kWatch && watches_on(task, answer)) return after(answer.away ? 500 : 0, kAct, number);
  if (tries_again(task, answer)) return after(random_.between(50, 2'000), kAct, number);
  on_done(task, answer);
  --open_;
}

// From its cursor, until it has seen the job end. Over a restore the numbers are those of other events.
bool SimClient::watches_on(Task& task, const Answer& answer) const {
  if (world_.storage.restores() > 0 || answer.refused == "JOB_NOT_FOUND") return false;
  for (const auto& event : answer.events) {
    if (event.number != task.events.size() + 1)
      throw Violation{
          "watchers-see-every-event", task.job_id,
          "event " + std::to_string(event.number) + " follows " + std::to_string(task.events.size())};
    task.events.push_back(event);
    if (is_terminal(event.phase)) return false;
  }
  if (answer.ended && answer.events.empty())
    throw Violation{"watchers-see-every-event", task.job_id, "it has ended, and no event said so"};
  return true;
}

bool SimClient::tries_again(Task& task, const Answer& answer) const {
  if (answer.away || answer.refused == "DISK_FULL" || answer.refused == "QUOTA_QUEUED") return true;
  if (answer.refused == "ETAG_MISMATCH") {
    task.with_etag = false;
    return true;
  }
  return answer.refused == "JOB_NOT_ENDED" && task.tries < 5;
}

void SimClient::on_done(Task& task, const Answer& answer) {
  const auto wrong = [&](const char* invariant, const std::string& what) {
    throw Violation{invariant, answer.job, what + (answer.refused.empty() ? "" : ": " + answer.refused)};
  };
  if (task.act == Act::kWatch) {
    if (!world_.invariants.may_be_gone(task.job_id) && world_.storage.restores() == 0)
      world_.invariants.on_watched(task.job_id, task.events, world_.storage);
    return;
  }
  if (task.act == Act::kReuse) {
    if (world_.invariants.may_be_gone(jobs_.at(task.job).job)) return;  // and its request with it
    if (answer.refused != "REQUEST_ID_REUSED")
      wrong("submitted-twice-is-one-job", "a request id was taken twice");
    return;
  }
  if (task.act == Act::kPause && !task.of) pause_told_.insert(task.job);
  if (task.act == Act::kSubmit || task.act == Act::kSubmitAgain) {
    const auto made = jobs_.find(task.job);
    if (answer.refused == "REQUEST_ID_REUSED" && made != jobs_.end() &&
        world_.invariants.may_be_gone(made->second.job))
      return;  // another took the request's id when it was free again
    if (!answer.refused.empty()) wrong("acknowledged-job-kept", "a submit is refused");
    world_.invariants.on_submitted("r" + std::to_string(task.job), answer.job);
  }
  if (answer.refused == "JOB_NOT_FOUND" && world_.invariants.may_be_gone(task.job_id)) return;
  if (answer.refused == "JOB_NOT_FOUND")
    wrong("acknowledged-job-kept", "a job that was acknowledged is not found");
  if (!answer.refused.empty() || task.of || task.quota || task.act == Act::kDelete) return;
  Answer& newest = jobs_[task.job];
  if (answer.version >= newest.version || answer.job != newest.job) newest = answer;
}

}  // namespace wring::sim

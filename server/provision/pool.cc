// The pool's rules.
#include "server/provision/pool.h"

#include <algorithm>

namespace wring {
namespace {

bool has_job(const PoolView& view, const std::string& id) {
  const auto it = view.workers.find(id);
  return it != view.workers.end() && it->second;
}

// What is cancelled first: what has not begun, then who has nothing to do.
int cost_of_cancelling(const PoolView& view, const BatchJob& job) {
  if (job.state == BatchState::kPending) return 0;
  return has_job(view, job.id) ? 2 : 1;
}

}  // namespace

PoolPlan Pool::plan(const PoolView& view, TimeMs now) {
  note(view, now);
  resolve_doubt(view, now);
  PoolPlan plan;
  cancel_silent(view, now, plan);
  std::size_t busy = 0;
  for (const auto* job : alive(view, now)) busy += has_job(view, job->id);
  const std::size_t wanted = std::clamp(busy + view.waiting, options_.min, options_.max);
  cancel_excess(view, wanted, now, plan);
  submit_missing(view, wanted, now, plan);
  return plan;
}

void Pool::submitted() {
  doubt_.reset();
  refused_ = {};
}

void Pool::refused(TimeMs now) {
  doubt_.reset();
  hold(refused_, now);
}

void Pool::hold(Hold& hold, TimeMs now) const {
  const int doublings = std::min(hold.times++, 20);
  hold.until = now + std::min(options_.hold_ms << doublings, options_.longest_hold_ms);
}

void Pool::note(const PoolView& view, TimeMs now) {
  std::set<std::string> present;
  for (const auto& job : view.jobs) {
    present.insert(job.id);
    Seen& seen = seen_[job.id];
    if (job.state != BatchState::kRunning) {
      seen.running_since = seen.heard = -1;  // pending again: it was requeued
      continue;
    }
    if (seen.running_since < 0) seen.running_since = now;
    if (view.workers.contains(job.id)) seen.heard = now;
    if (!has_job(view, job.id)) continue;
    seen.had_job = true;
    fruitless_ = {};
  }
  for (auto& [id, seen] : seen_)
    if (!seen.had_job && view.served.contains(id)) {
      seen.had_job = true;
      fruitless_ = {};
    }
  note_ends(view, present, now);
}

// One hold for all that ended for nothing while it lasts.
void Pool::note_ends(const PoolView& view, const std::set<std::string>& present, TimeMs now) {
  bool for_nothing = false;
  std::erase_if(seen_, [&](const auto& entry) {
    const auto& [id, seen] = entry;
    if (present.contains(id)) return false;
    for_nothing |= !seen.had_job && seen.cancelled < 0;
    return true;
  });
  const bool needed = view.waiting > 0 || options_.min > 0;
  if (for_nothing && needed && now >= fruitless_.until) hold(fruitless_, now);
}

void Pool::resolve_doubt(const PoolView& view, TimeMs now) {
  if (!doubt_) return;
  const bool is_there = std::any_of(view.jobs.begin(), view.jobs.end(),
                                    [&](const auto& job) { return job.submit == doubt_->submit; });
  if (is_there || now >= doubt_->until) doubt_.reset();
}

std::vector<const BatchJob*> Pool::alive(const PoolView& view, TimeMs now) const {
  std::vector<const BatchJob*> jobs;
  for (const auto& job : view.jobs) {
    const TimeMs cancelled = seen_.at(job.id).cancelled;
    const bool ends = cancelled >= 0 && now - cancelled < options_.doubt_ms;
    if (job.state != BatchState::kEnding && !ends) jobs.push_back(&job);
  }
  return jobs;
}

void Pool::cancel(const std::string& id, TimeMs now, PoolPlan& plan) {
  seen_.at(id).cancelled = now;
  plan.cancels.push_back(id);
}

// Runs, and its worker does not come, or has gone and left its batch job behind.
void Pool::cancel_silent(const PoolView& view, TimeMs now, PoolPlan& plan) {
  for (const auto* job : alive(view, now)) {
    const Seen& seen = seen_.at(job->id);
    if (job->state == BatchState::kRunning &&
        now - std::max(seen.running_since, seen.heard) >= options_.start_ms)
      cancel(job->id, now, plan);
  }
}

// Above `max` at once; above what is wanted only what has not begun or would never end, once it has been too
// much for idle_ms: other workers end by themselves.
void Pool::cancel_excess(const PoolView& view, std::size_t wanted, TimeMs now, PoolPlan& plan) {
  auto jobs = alive(view, now);
  if (jobs.size() <= wanted) excess_since_.reset();
  if (jobs.size() <= wanted) return;
  if (!excess_since_) excess_since_ = now;
  std::stable_sort(jobs.begin(), jobs.end(), [&](const auto* a, const auto* b) {
    return cost_of_cancelling(view, *a) < cost_of_cancelling(view, *b);
  });
  auto kept = static_cast<std::size_t>(
      std::count_if(jobs.begin(), jobs.end(), [](const auto* job) { return job->keep; }));
  std::size_t left = jobs.size();
  const bool long_enough = now - *excess_since_ >= options_.idle_ms;
  for (const auto* job : jobs) {
    if (left <= wanted) return;
    const int cost = cost_of_cancelling(view, *job);
    const bool ends_by_itself = !job->keep && cost > 0;
    const bool is_needed = job->keep && kept <= options_.min;
    if (left <= options_.max && (!long_enough || cost == 2 || ends_by_itself || is_needed)) continue;
    cancel(job->id, now, plan);
    kept -= job->keep;
    --left;
  }
}

void Pool::submit_missing(const PoolView& view, std::size_t wanted, TimeMs now, PoolPlan& plan) const {
  if (doubt_ || now < std::max(refused_.until, fruitless_.until)) return;
  const auto jobs = alive(view, now);
  const std::size_t room = options_.max - std::min(options_.max, view.jobs.size());
  std::size_t missing = std::min(wanted - std::min(wanted, jobs.size()), room);
  const auto kept = static_cast<std::size_t>(
      std::count_if(jobs.begin(), jobs.end(), [](const auto* job) { return job->keep; }));
  std::size_t to_keep = std::min(missing, options_.min - std::min(options_.min, kept));
  missing -= to_keep;
  for (auto [count, keep] : {std::pair{to_keep, true}, std::pair{missing, false}})
    for (const std::size_t most = std::max<std::size_t>(view.array, 1); count > 0;
         count -= std::min(count, most))
      plan.submits.push_back({std::min(count, most), keep});
}

}  // namespace wring

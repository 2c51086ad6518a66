// A seed's choices.
#include "tests/sim/plan.h"

#include <algorithm>

#include "tests/sim/random.h"

namespace wring::sim {
namespace {

enum Stream : std::uint64_t {
  kShape = 1,
  kWorkers = 1ull << 32,
  kJobs = 2ull << 32,
  kEndings = 3ull << 32,
  kPauses = 4ull << 32,
  kQuotas = 5ull << 32
};

constexpr std::array kMethods{"rtn@1", "gptq@1", "wanda@1", "perplexity@1"};

}  // namespace

std::string_view to_string(Fault fault) {
  constexpr std::array<std::string_view, kFaultKinds> kNames{
      "loss",          "duplicate",    "delay",        "partition", "told-failed",
      "worker-kill",   "worker-pause", "worker-drain", "crash",     "crash-at-commit",
      "clock-forward", "clock-back",   "disk-full",    "engine",    "restore"};
  return kNames[static_cast<std::size_t>(fault)];
}

Plan make_plan(std::uint64_t seed, std::uint32_t workers, std::uint32_t jobs) {
  Random random(seed, kShape);
  Plan plan;
  plan.seed = seed;
  // Small worlds find most of what there is to find, so most are small.
  const auto chosen = random.chance(0.6) ? random.between(1, 8) : random.between(1, 50);
  plan.workers = workers > 0 ? workers : static_cast<std::uint32_t>(chosen);
  const auto wanted =
      static_cast<std::uint32_t>(random.between(1, 2 * std::min<std::int64_t>(plan.workers, 30) + 4));
  plan.jobs = jobs > 0 ? jobs : plan.workers > 100 ? plan.workers + plan.workers / 4 : wanted;
  plan.clients = std::min(plan.jobs, 1 + plan.jobs / 8);
  plan.faults_end = random.between(10'000, random.chance(0.3) ? 180'000 : 60'000);
  plan.late_jobs = random.chance(0.3);
  for (auto& fault : plan.faults) fault = random.chance(0.6);
  // Rare, because what it loses the invariants cannot ask for.
  plan.faults[static_cast<std::size_t>(Fault::kRestore)] = random.chance(0.2);
  plan.loss = random.chance(0.2) ? 0.2 : 0.02;
  plan.duplicate = random.chance(0.2) ? 0.2 : 0.02;
  plan.delay = random.chance(0.2) ? 0.2 : 0.02;
  plan.told_failed = random.chance(0.2) ? 0.2 : 0.02;
  plan.crash_at_commit = random.chance(0.3) ? 0.05 : 0.01;
  if (random.chance(0.5)) plan.options = {5'000, 200, 3'000, 60'000};
  plan.heartbeat_ms = plan.options.lease_ms / 5;
  if (plan.workers > 100) {
    plan.faults_end = 30'000;
    plan.options = {15'000, 1'000, 60'000, 60'000};
    plan.heartbeat_ms = 6'000;
    plan.busy_ms = 3'000;
    plan.poll_ms = 5'000;
    plan.wake_ms = 1'000;
    plan.tick_ms = 1'000;
    plan.crash_at_commit = 0.001;
  }
  return plan;
}

WorkerPlan Plan::worker(std::uint32_t index) const {
  Random random(seed, kWorkers + index);
  const bool all = index % 10 == 0;  // some fit every job
  WorkerPlan worker;
  worker.devices["cpu"] = all ? 4 : static_cast<std::uint32_t>(random.between(1, 4));
  if (all || random.chance(0.3)) worker.devices["cuda"] = all ? 2 : 1;
  worker.memory_bytes = static_cast<std::uint64_t>(all ? 64 : random.between(4, 64)) << 30;
  for (const auto* method : kMethods)
    if (all || random.chance(0.8)) worker.methods.insert(method);
  return worker;
}

JobPlan Plan::job(std::uint32_t index) const {
  Random random(seed, kJobs + index);
  JobPlan job;
  if (random.chance(0.2)) job.needs.device = "cuda";
  job.needs.device_count = static_cast<std::uint32_t>(random.between(0, job.needs.device == "cuda" ? 2 : 4));
  if (random.chance(0.5)) job.needs.memory_bytes = static_cast<std::uint64_t>(random.between(1, 64)) << 30;
  for (const auto* method : kMethods)
    if (random.chance(0.25)) job.needs.methods.emplace_back(method);
  job.max_attempts = static_cast<std::uint32_t>(random.between(0, 6));
  if (random.chance(0.3)) job.priority = static_cast<std::int32_t>(random.between(0, 4)) - 2;
  job.project = random.chance(0.6) ? "p0" : "p" + std::to_string(random.between(1, 3));
  if (random.chance(0.15)) job.queued_timeout = random.between(200, 20'000);
  if (random.chance(0.15)) job.total_timeout = random.between(1'000, 60'000);
  job.submit_at = random.between(0, faults_end * 2 / 3);
  if (late_jobs && random.chance(0.2)) job.submit_at = settled() + random.between(0, 10'000);
  if (random.chance(0.2)) job.cancel_at = job.submit_at + random.between(0, 20'000);
  if (random.chance(0.3)) job.retry_at = job.submit_at + random.between(0, 40'000);
  if (random.chance(0.15)) job.pause_at = job.submit_at + random.between(0, 15'000);
  job.cancel_with_etag = random.chance(0.3);
  job.submit_again = random.chance(0.1);
  job.reuse_request = random.chance(0.05);
  job.watched = random.chance(0.3);
  if (random.chance(0.2)) {  // a request id is deleted with its job, and may then make another
    job.delete_at = job.submit_at + random.between(0, 60'000);
    job.delete_with_etag = random.chance(0.3);
    job.submit_again = job.reuse_request = false;
  }
  const auto stages = random.between(1, 4);
  for (int i = 0; i < stages; ++i)
    job.stages.push_back(random.chance(0.3) ? random.between(0, 50) : random.between(50, 4'000));
  if (random.chance(0.2)) job.max_runtime = random.between(100, 12'000);
  if (job.max_runtime > 0 && random.chance(0.5)) {
    job.ends_in_time = false;
    job.stages.back() += random.between(0, 20'000);
  }
  return job;
}

std::vector<PausePlan> Plan::pauses() const {
  Random random(seed, kPauses);
  std::vector<PausePlan> pauses;
  if (random.chance(0.5)) return pauses;
  for (auto left = random.between(1, 4); left > 0; --left) {
    PausePlan pause;
    pause.kind = random.chance(0.5) ? PauseRecord::Kind::kProject : PauseRecord::Kind::kWorker;
    pause.name = pause.kind == PauseRecord::Kind::kProject ? "p" + std::to_string(random.between(0, 3))
                                                           : "w" + std::to_string(random.below(workers));
    pause.at = random.between(0, faults_end);
    pause.length = random.between(0, 20'000);
    pauses.push_back(std::move(pause));
  }
  return pauses;
}

std::vector<QuotaPlan> Plan::quotas() const {
  Random random(seed, kQuotas);
  std::vector<QuotaPlan> quotas;
  if (random.chance(0.5)) return quotas;
  const auto scale = std::max(1u, workers / 50);  // at three of thousands, a large world would never end
  for (auto left = random.between(1, 4); left > 0; --left) {
    QuotaPlan quota;
    quota.input.project = "p" + std::to_string(random.between(0, 3));
    if (random.chance(0.7)) quota.input.quota.running = scale * random.between(1, 3);
    if (random.chance(0.5)) quota.input.quota.queued = scale * random.between(1, 8);
    quota.at = random.between(0, faults_end / 2);
    quotas.push_back(std::move(quota));
  }
  return quotas;
}

Ending Plan::ending(std::uint32_t job, std::uint32_t attempt) const {
  Random of_job(seed, kEndings + job);
  const bool poison = of_job.chance(0.05), flaky = of_job.chance(0.3);
  if (!has(Fault::kEngine)) return Ending::kSuccess;
  if (poison) return Ending::kSameCrash;
  Random random(seed, kEndings + (static_cast<std::uint64_t>(attempt) << 40) + job);
  if (!flaky || attempt > 20 || random.chance(0.4)) return Ending::kSuccess;
  constexpr std::array kFailures{Ending::kUnavailable, Ending::kUnavailable, Ending::kUserError,
                                 Ending::kOutOfMemory, Ending::kSameCrash,   Ending::kOtherCrash};
  return kFailures[random.below(kFailures.size())];
}

}  // namespace wring::sim

// The thread between the coordinator, the pool and Slurm.
#include "server/provision/provisioner.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/text.h"
#include "server/scheduler/waiting.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr TimeMs kRestMs = 60'000;  // nothing waits and nothing runs: Slurm is still asked so often
constexpr const char* kWorkersEnd = "WORKERS_END";
constexpr const char* kDoubtFile = "submitting.json";
constexpr double kFirstBackoff = 5, kLongestBackoff = 120;

// Made once for a data folder: batch jobs of another server are not this one's.
std::string name_of(const fs::path& folder) {
  fs::create_directories(folder);
  const auto file = folder / "id";
  if (!fs::exists(file)) write_file_atomic(file, random_id(8));
  return "wring-" + read_file(file, 64);
}

// Whether nothing was done for certain.
bool is_refusal(const Error& error) {
  static const std::set<std::string> kRefusals{"SLURM_REFUSED", "SLURM_LIMIT", "SLURM_CLOSED", "SLURM_AWAY",
                                               "NO_SLURM"};
  return kRefusals.contains(error.reason());
}

std::string counted(std::size_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

Provisioner::Provisioner(ProvisionConfig config, const std::string& address, const fs::path& data,
                         Coordinator& coordinator, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      folder_(data / "provision"),
      coordinator_(coordinator),
      clock_(clock),
      metrics_(metrics),
      name_(name_of(folder_)),
      pool_(config_.pool),
      backoff_(kFirstBackoff, kLongestBackoff) {
  write_scripts(config_.server.empty() ? address : config_.server);
  try {
    slurm_.test_submit(sbatch_arguments(config_, name_, "test", {1, false}), folder_ / "worker.sh");
  } catch (const Error& error) {
    if (error.reason() == "SLURM_REFUSED" || error.reason() == "NO_SLURM") throw of_provision(error);
    trouble(error);
  }
  take_up_doubt();
  coordinator_.expect_workers(expected_worker(config_));
  spdlog::info("workers are batch jobs of Slurm named {}, {} to {}", name_, config_.pool.min,
               config_.pool.max);
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Provisioner::~Provisioner() = default;

std::string Provisioner::health() const {
  const std::lock_guard lock(mutex_);
  return error_ ? error_->reason() : "ok";
}

void Provisioner::write_scripts(const std::string& address) const {
  write_file_atomic(folder_ / "worker.sh", worker_script(config_, address, false));
  write_file_atomic(folder_ / "keep.sh", worker_script(config_, address, true));
}

void Provisioner::run(const std::stop_token& stop) {
  for (double wait = 0; !stop.stop_requested(); wait = config_.poll_seconds) {
    try {
      look();
      backoff_.reset();
    } catch (...) {
      trouble(current_error());
      wait = std::max(config_.poll_seconds, backoff_.next_seconds());
    }
    std::unique_lock lock(mutex_);
    stopped_.wait_for(lock, stop, std::chrono::duration<double>(wait), [&] { return stop.stop_requested(); });
  }
}

void Provisioner::look() {
  const auto demand = coordinator_.pool_demand();
  if (may_rest(demand)) return;
  if (max_array_ == 0) max_array_ = max_array_size(slurm_);
  jobs_ = slurm_jobs(slurm_, name_);
  const TimeMs now = clock_.now_ms();
  looked_ = now;
  PoolView view{demand.waiting, demand.workers, {}, max_array_, demand.served};
  for (const auto& job : jobs_) view.jobs.push_back(job.job);
  const auto plan = pool_.plan(view, now);
  settle_doubt();
  cancel(plan.cancels);
  for (const auto& what : plan.submits)
    if (!submit(what)) break;
  describe();
}

// Slurm need not be asked where nothing waits and nothing of ours was there.
bool Provisioner::may_rest(const PoolDemand& demand) const {
  return looked_ && clock_.now_ms() - *looked_ < kRestMs && jobs_.empty() && demand.waiting == 0 &&
         demand.workers.empty() && config_.pool.min == 0 && !pool_.in_doubt();
}

void Provisioner::cancel(const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  cancel_slurm_jobs(slurm_, ids);
  metrics_.pool_cancelled(ids.size());
  spdlog::info("cancelled {}: {}", counted(ids.size(), "batch job"), join(ids, ", ").substr(0, 500));
}

// Returns whether Slurm took it.
bool Provisioner::submit(const PoolPlan::Submit& what) {
  const auto id = random_id(10);
  write_file_atomic(folder_ / kDoubtFile, Json{{"submit", id}}.dump() + "\n");
  pool_.submitting(id, clock_.now_ms());
  try {
    const auto job = slurm_.submit(sbatch_arguments(config_, name_, id, what),
                                   folder_ / (what.keep ? "keep.sh" : "worker.sh"));
    pool_.submitted();
    metrics_.pool_submitted(what.count);
    spdlog::info("submitted {} as {}", counted(what.count, "worker"), job);
  } catch (const Error& error) {
    if (is_refusal(error)) pool_.refused(clock_.now_ms());
    max_array_ = 0;  // it may have changed
    trouble(error);
  }
  settle_doubt();
  return !pool_.in_doubt() && pool_.refused_until() <= clock_.now_ms();
}

// A submit of an earlier process, of which only Slurm knows what became.
void Provisioner::take_up_doubt() {
  if (!fs::exists(folder_ / kDoubtFile)) return;
  const auto json = parse_json(read_file(folder_ / kDoubtFile), kDoubtFile);
  pool_.submitting(json_or<std::string>(json, "submit", ""), clock_.now_ms());
}

void Provisioner::settle_doubt() const {
  if (!pool_.in_doubt()) fs::remove(folder_ / kDoubtFile);
}

// What people and probes see of it; where nothing is wrong any more, that is over.
void Provisioner::describe() {
  std::map<BatchState, std::size_t> count;
  std::map<std::string, std::size_t> reasons;
  for (const auto& job : jobs_) {
    ++count[job.job.state];
    if (job.job.state == BatchState::kPending) ++reasons[job.reason];
  }
  const TimeMs now = clock_.now_ms();
  if (pool_.fruitless_until() > now && health() != kWorkersEnd)
    trouble(Error(ErrorCode::kUnavailable, kWorkersEnd,
                  "batch jobs of workers end without having taken a job", "worker",
                  config_.logs.empty() ? "Set logs: to a folder of the compute nodes to see why."
                                       : "Their logs are in " + config_.logs.string() + "."));
  const bool works = !pool_.in_doubt() && std::max(pool_.refused_until(), pool_.fruitless_until()) <= now;
  const auto pending = count[BatchState::kPending], running = count[BatchState::kRunning];
  metrics_.pool(pending, running, count[BatchState::kEnding], works);
  if (!works) return;
  {
    const std::lock_guard lock(mutex_);
    if (error_) spdlog::info("Slurm takes workers again");
    error_.reset();
  }
  const auto most = std::max_element(reasons.begin(), reasons.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  coordinator_.describe_pool(pending + running == 0
                                 ? ""
                                 : "a worker is on its way: of its batch jobs " + std::to_string(pending) +
                                       " wait" + (pending > 0 ? " (" + most->first + ")" : "") + ", " +
                                       std::to_string(running) + " run");
}

// Logged once, until it is over.
void Provisioner::trouble(const Error& error) {
  metrics_.pool_failed(error.reason());
  coordinator_.describe_pool(std::string(kNoWorker) + ": " + error.message());
  const std::lock_guard lock(mutex_);
  const bool is_new = !error_ || error_->message() != error.message();
  error_ = of_provision(error);
  spdlog::log(is_new ? spdlog::level::err : spdlog::level::debug, "no workers from Slurm: {}: {} {}",
              error_->field().empty() ? error_->reason() : error_->field(), error_->message(),
              error_->hint());
}

}  // namespace wring

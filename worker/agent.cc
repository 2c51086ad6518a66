// The worker's main loop.
#include "worker/agent.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <thread>

#include "common/address.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "proto/rpc/channel.h"
#include "recipe/spec.h"
#include "worker/attempt.h"
#include "worker/engine.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr double kLeaseWaitSeconds = 20;
constexpr double kFullDiskSeconds = 2, kMaxFullDiskSeconds = 60;  // before another job is asked for
constexpr double kForgottenSeconds = 5;   // without the server, though idle or with outputs to share
constexpr double kLastWordsSeconds = 10;  // for the release of a job when the worker goes

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

// As squeue shows it; empty outside of Slurm.
std::string slurm_job() {
  const auto array = variable("SLURM_ARRAY_JOB_ID");
  return array.empty() ? variable("SLURM_JOB_ID") : array + "_" + variable("SLURM_ARRAY_TASK_ID");
}

// A host may be several nodes of Slurm.
std::string node_name() {
  const auto node = variable("SLURMD_NODENAME"), host = host_name();
  return !node.empty() ? node : !host.empty() ? host : "worker";
}

ChannelSecurity security_of(const WorkerOptions& options) {
  std::string token = options.token;
  if (!options.token_file.empty()) {
    token = read_file(options.token_file, 4096);
    token.erase(token.find_last_not_of(" \n") + 1);
  }
  if (options.tls.empty()) return {token, "", "", ""};
  const auto read = [&](const char* name) { return read_file(options.tls / name, 1u << 20); };
  return {token, read("ca.crt"), read("worker.crt"), read("worker.key")};
}

v1::Worker describe_worker(const WorkerOptions& options, const Cache& cache) {
  const auto hello = ask_engine_devices(options.engine);
  v1::Worker worker;
  worker.set_id(cache.worker_id());
  worker.set_name(options.name.empty() ? node_name() : options.name);
  worker.set_slurm_job(slurm_job());
  for (const auto& name : options.classes) worker.add_classes(name);
  worker.set_version(hello.version);
  worker.set_catalogue_digest(hello.catalogue);
  for (auto device : hello.devices) {
    if (device.kind() == "cpu" && options.threads > 0) device.set_threads(options.threads);
    if (device.kind() == "cpu" && options.memory_bytes > 0) device.set_memory_bytes(options.memory_bytes);
    *worker.add_devices() = device;
  }
  if (hello.catalogue == Catalogue::embedded().digest().hex()) {
    for (const auto* method : Catalogue::embedded().methods())
      worker.add_methods(method->name + "@" + std::to_string(method->version));
    for (const auto* suite : Catalogue::embedded().suites())
      worker.add_methods(suite->name + "@" + std::to_string(suite->version));
    worker.add_methods(kPlanOnly);
  } else {
    spdlog::warn("the engine is of another release than this worker: its catalogue is {}", hello.catalogue);
  }
  return worker;
}

// What no engine has to read: what other projects have here, and what this worker shows the server.
std::vector<fs::path> guarded_paths(const WorkerOptions& options) {
  std::vector<fs::path> paths{fs::absolute(options.cache)};  // with --cache-below other workers' caches, too
  if (!options.tls.empty()) paths.push_back(fs::absolute(options.tls / "worker.key"));
  for (const auto& file : {options.token_file, options.config})
    if (!file.empty()) paths.push_back(fs::absolute(file));
  return paths;
}

std::optional<Sandbox> make_sandbox(const WorkerOptions& options, const Cache& cache) {
  if (!options.sandbox) {
    spdlog::warn("engines run without a sandbox, as asked for");
    return std::nullopt;
  }
  const std::vector writable{fs::absolute(cache.work()), fs::absolute(cache.snapshots())};
  std::optional<Sandbox> sandbox(std::in_place, fs::absolute(options.engine), writable,
                                 guarded_paths(options));
  spdlog::info("engines' sandbox: {}", sandbox->describe());
  return sandbox;
}

}  // namespace

Agent::Agent(WorkerOptions options)
    : options_(std::move(options)),
      cache_(take_cache_folder(options_.cache, options_.cache_below), options_.cache_bytes),
      worker_(describe_worker(options_, cache_)),
      meter_(worker_),
      metrics_(worker_, cache_, meter_),
      sandbox_(make_sandbox(options_, cache_)),
      coordinator_(options_.server, security_of(options_)),
      sharer_(coordinator_, cache_, options_.share_seconds) {
  if (options_.metrics.empty()) return;
  endpoint_.emplace(parse_address(options_.metrics, "--metrics"), metrics_);
  spdlog::info("metrics on port {}", endpoint_->port());
}

void Agent::drain() {
  const std::lock_guard lock(mutex_);
  draining_.set(Stop::kDrain);
  if (leasing_) leasing_->TryCancel();
}

v1::RegisterWorkerResponse Agent::register_worker() {
  const auto answer =
      until_answered(draining_, "RegisterWorker", [&] { return coordinator_.register_worker(worker_); });
  spdlog::info("registered with {} as {} ({})", options_.server, worker_.id(), worker_.name());
  return answer;
}

void Agent::set_idle(bool idle) {
  const std::lock_guard lock(mutex_);
  if (idle)
    idle_.emplace();
  else
    idle_.reset();
}

double Agent::idle_seconds_left() {
  const std::lock_guard lock(mutex_);
  const bool counts = options_.exit_when_idle > 0 && idle_;
  return counts ? options_.exit_when_idle - idle_->seconds() : std::numeric_limits<double>::infinity();
}

// While the server is away nothing else looks at the time.
void Agent::leave_when_forgotten(const std::stop_token& stop) {
  for (; !stop.stop_requested(); std::this_thread::sleep_for(std::chrono::milliseconds(100)))
    if (idle_seconds_left() < -kForgottenSeconds) return drain();
}

void Agent::run() {
  const std::jthread forgotten([this](const std::stop_token& stop) { leave_when_forgotten(stop); });
  work_until_told();
}

void Agent::work_until_told() {
  try {
    const auto terms = register_worker();
    LeaseKeeper keeper(coordinator_, worker_, terms.heartbeat_seconds(), [this] { return use(); });
    for (Backoff full(kFullDiskSeconds, kMaxFullDiskSeconds); !draining_ && idle_seconds_left() > 0;) {
      const auto leased = lease();
      if (!leased.leased()) continue;
      set_idle(false);
      const bool had_room = work(leased, keeper);
      set_idle(true);
      if (had_room)
        full.reset();
      else if (!options_.once)
        wait_for_room(full.next_seconds());
      if (options_.once) break;
    }
    set_idle(false);  // it has something to do: what it made is on its way to the project's cache
    sharer_.flush(draining_, options_.once ? std::numeric_limits<double>::infinity() : kForgottenSeconds);
  } catch (const Error& error) {
    if (!draining_ || error.reason() != "STOPPED") throw;
  }
  try {  // the server need not wait for this worker's silence
    v1::HeartbeatRequest goodbye;
    goodbye.set_worker_id(worker_.id());
    goodbye.set_draining(true);
    coordinator_.heartbeat(goodbye, 1);
  } catch (const Error& error) {
    spdlog::debug("no goodbye: {}", error.what());
  }
}

// Every job would fail here, and use up its attempts.
void Agent::wait_for_room(double seconds) {
  spdlog::warn("the disk of {} is full: no job is taken for {:.0f} s", cache_.folder().string(), seconds);
  draining_.wait(seconds);
}

// Waits for a job once. An empty answer where none came, or the server was away and this worker has
// introduced itself again.
v1::LeaseJobResponse Agent::lease() {
  grpc::ClientContext context;
  {
    const std::lock_guard lock(mutex_);
    if (draining_) return {};
    leasing_ = &context;
  }
  v1::LeaseJobRequest request;
  request.set_worker_id(worker_.id());
  request.set_wait_seconds(std::clamp(idle_seconds_left(), 0.0, kLeaseWaitSeconds));
  *request.mutable_free_devices() = worker_.devices();
  std::optional<Error> error;
  v1::LeaseJobResponse response;
  try {
    response = coordinator_.lease_job(request, context);
  } catch (const Error& e) {
    error = e;
  }
  {
    const std::lock_guard lock(mutex_);
    leasing_ = nullptr;
  }
  if (error && !draining_) {
    spdlog::warn("no lease: {}", error->what());
    draining_.wait(is_away(*error) ? 0.1 : 1);
    register_worker();
  }
  return response;
}

v1::WorkerUse Agent::use() {
  v1::WorkerUse use;
  for (auto& device : meter_.read()) *use.add_devices() = std::move(device);
  const CacheUse cache = cache_.use();
  use.set_cache_bytes(cache.bytes);
  use.set_cache_limit_bytes(cache.limit);
  use.set_cache_claimed_bytes(cache.claimed);
  use.set_cache_missed_bytes(cache.missed);
  return use;
}

bool Agent::work(const v1::LeaseJobResponse& lease, LeaseKeeper& keeper) {
  StopSignal stop, over;
  // Hands the drain on to the attempt, now or when its time is over.
  std::jthread watcher([&] {
    while (!over.wait(0) && !draining_.wait(0.1)) {
    }
    if (over) return;
    keeper.set_draining();
    if (over.wait(options_.drain_seconds)) return;
    stop.set(Stop::kDrain);
    if (!over.wait(kLastWordsSeconds)) leave_.set(Stop::kDrain);
  });
  const bool had_room = run_attempt(
      {options_, coordinator_, cache_, keeper, sharer_, metrics_, sandbox_ ? &*sandbox_ : nullptr}, lease,
      device_for(lease.job().spec()), stop, leave_);
  over.set(Stop::kDrain);
  return had_room;
}

v1::Device Agent::device_for(const v1::JobSpec& spec) const {
  const std::string kind = spec.resources().device().empty() ? "cpu" : spec.resources().device();
  for (const auto& device : worker_.devices())
    if (device.kind() == kind) return device;
  v1::Device none;  // the engine then says what it has
  none.set_kind(kind);
  return none;
}

}  // namespace wring

// The worker's main loop.
#include "worker/agent.h"

#include <unistd.h>

#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "recipe/spec.h"
#include "worker/attempt.h"
#include "worker/engine.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr double kLeaseWaitSeconds = 20;
constexpr double kFullDiskSeconds = 2, kMaxFullDiskSeconds = 60;  // before another job is asked for
constexpr double kLastWordsSeconds = 10;  // for the release of a job when the worker goes

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "worker";
}

ChannelSecurity security_of(const WorkerOptions& options) {
  if (options.tls.empty()) return {options.token, "", "", ""};
  const auto read = [&](const char* name) { return read_file(options.tls / name, 1u << 20); };
  return {options.token, read("ca.crt"), read("worker.crt"), read("worker.key")};
}

v1::Worker describe_worker(const WorkerOptions& options, const Cache& cache) {
  const auto hello = ask_engine_devices(options.engine);
  v1::Worker worker;
  worker.set_id(cache.worker_id());
  worker.set_name(options.name.empty() ? host_name() : options.name);
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
  } else {
    spdlog::warn("the engine is of another release than this worker: its catalogue is {}", hello.catalogue);
  }
  return worker;
}

std::optional<Sandbox> make_sandbox(const WorkerOptions& options) {
  if (!options.sandbox) {
    spdlog::warn("engines run without a sandbox, as asked for");
    return std::nullopt;
  }
  std::optional<Sandbox> sandbox(std::in_place, fs::absolute(options.engine));
  spdlog::info("engines' sandbox: {}", sandbox->describe());
  return sandbox;
}

}  // namespace

Agent::Agent(WorkerOptions options)
    : options_(std::move(options)),
      cache_(options_.cache, options_.cache_bytes),
      worker_(describe_worker(options_, cache_)),
      metrics_(worker_, cache_),
      sandbox_(make_sandbox(options_)),
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

void Agent::run() {
  try {
    const auto terms = register_worker();
    LeaseKeeper keeper(coordinator_, worker_, terms.heartbeat_seconds());
    for (Backoff full(kFullDiskSeconds, kMaxFullDiskSeconds); !draining_;) {
      const auto leased = lease();
      if (!leased.leased()) continue;
      if (work(leased, keeper))
        full.reset();
      else if (!options_.once)
        wait_for_room(full.next_seconds());
      if (!options_.once) continue;
      sharer_.flush(draining_);
      break;
    }
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
  spdlog::warn("the disk of {} is full: no job is taken for {:.0f} s", options_.cache.string(), seconds);
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
  request.set_wait_seconds(kLeaseWaitSeconds);
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

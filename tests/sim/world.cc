// The loop, and the faults.
#include "tests/sim/world.h"

#include <algorithm>

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_worker.h"

namespace wring::sim {
namespace {

enum Actors : std::uint32_t { kWorld, kNetwork, kStorage, kCoordinator, kCallers };

constexpr TimeMs kHoursToEnd = 4;      // of a quiet world; a minute or two is what it takes
constexpr std::uint32_t kLook = 1000;  // whether all is over; lower kinds are faults

// Faults that befall the world at moments of their own, not message by message.
constexpr std::array kStrikes{Fault::kPartition,   Fault::kWorkerKill, Fault::kWorkerPause,
                              Fault::kWorkerDrain, Fault::kCrash,      Fault::kClockForward,
                              Fault::kClockBack,   Fault::kDiskFull,   Fault::kRestore};

}  // namespace

World::World(const Plan& world_plan, bool traced)
    : plan(world_plan),
      random(plan.seed, 7),
      trace(traced),
      network(*this, kNetwork),
      storage(*this, kStorage),
      coordinator(*this, kCoordinator),
      invariants(*this) {
  auto id = static_cast<std::uint32_t>(kCallers);
  for (std::uint32_t i = 0; i < plan.workers; ++i)
    workers_.push_back(std::make_unique<SimWorker>(*this, id++, i));
  for (std::uint32_t i = 0; i < plan.clients; ++i)
    clients_.push_back(std::make_unique<SimClient>(*this, id++, i));
}

World::~World() = default;

CallingActor& World::caller(std::uint32_t id) {
  const std::size_t index = id - kCallers;
  if (index < workers_.size()) return *workers_[index];
  return *clients_[index - workers_.size()];
}

Actor& World::actor(std::uint32_t id) {
  switch (id) {
    case kNetwork:
      return network;
    case kStorage:
      return storage;
    case kCoordinator:
      return coordinator;
    default:
      return caller(id);
  }
}

bool World::strikes(Fault fault, double probability) {
  if (!plan.has(fault) || !faulty() || !random.chance(probability)) return false;
  ++counts.faults[static_cast<std::size_t>(fault)];
  return true;
}

void World::run() {
  coordinator.start();
  for (auto& worker : workers_) worker->start();
  for (auto& client : clients_) client->start();
  schedule_faults();
  queue.push({1'000, 0, kWorld, 0, kLook, 0});
  while (!queue.empty()) {
    const Event event = queue.pop();
    now = event.at;
    if (event.actor == kWorld && event.kind == kLook) {
      if (is_over()) break;
      queue.push({now + 1'000, 0, kWorld, 0, kLook, 0});
      continue;
    }
    dispatch(event);
  }
  finish();
}

void World::dispatch(const Event& event) {
  ++counts.events;
  trace.mix(static_cast<std::uint64_t>(event.at) << 32 | event.actor << 8 | event.kind);
  if (event.actor == kWorld) return strike(static_cast<Fault>(event.kind));
  Actor& target = actor(event.actor);
  if (target.generation() != event.generation) return;
  if (target.paused_until() > now) {
    Event later = event;
    later.at = target.paused_until();
    return queue.push(later);
  }
  target.on_event(event.kind, event.what);
}

void World::schedule_faults() {
  for (const auto fault : kStrikes) {
    if (!plan.has(fault)) continue;
    const bool of_workers = fault == Fault::kPartition || fault == Fault::kWorkerKill ||
                            fault == Fault::kWorkerPause || fault == Fault::kWorkerDrain;
    const auto times =
        fault == Fault::kRestore ? 2 : random.between(1, of_workers ? 2 + plan.workers / 5 : 3);
    for (int i = 0; i < times; ++i)
      queue.push(
          {random.between(0, plan.faults_end - 1), 0, kWorld, 0, static_cast<std::uint32_t>(fault), 0});
  }
}

void World::strike(Fault fault) {
  ++counts.faults[static_cast<std::size_t>(fault)];
  SimWorker& worker = *workers_[random.below(workers_.size())];
  const auto until = [&](TimeMs longest) {
    return std::min(now + random.between(10, longest), plan.faults_end);
  };
  switch (fault) {
    case Fault::kPartition:
      note(worker.name(), "the network to " + worker.name() + " is cut for a while");
      return network.cut(worker.id(), until(40'000));
    case Fault::kWorkerKill:
      return worker.kill();
    case Fault::kWorkerPause:
      note(worker.name(), worker.name() + " is stopped for a while");
      return worker.pause(until(40'000));
    case Fault::kWorkerDrain:
      return worker.drain();
    case Fault::kCrash:
      return coordinator.crash("at any moment");
    case Fault::kClockForward:
      return jump(random.chance(0.5) ? random.between(1, 5'000) : random.between(1, 100'000'000));
    case Fault::kClockBack:
      return jump(-(random.chance(0.5) ? random.between(1, 5'000) : random.between(1, 100'000'000)));
    case Fault::kDiskFull:
      note({}, "the disk is full for a while");
      return storage.fill(until(15'000));
    case Fault::kRestore:
      return back_up_or_restore();
    default:
      return;
  }
}

void World::back_up_or_restore() {
  if (!storage.has_backup()) {
    note({}, "a backup is taken");
    storage.back_up();
    return invariants.on_backup();
  }
  coordinator.crash("to be restored");
  note({}, "the backup takes the place of the database");
  storage.restore();
  invariants.on_restore(storage);
  invariants.on_crash(storage);
}

void World::jump(TimeMs by) {
  note({}, "the coordinator's clock jumps by " + std::to_string(by) + " ms");
  clock_offset_ += by;
  invariants.on_clock_jump(by);
}

// In a quiet world something must change before the longest pause, lease and stage are over.
bool World::is_over() const {
  if (now < plan.faults_end || !coordinator.up()) return false;
  const bool told =
      std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->done(); });
  const auto& rows = storage.rows();
  const auto open = std::find_if(rows.begin(), rows.end(),
                                 [](const auto& row) { return !is_terminal(row.second.record.phase); });
  if (told && open == rows.end()) return true;
  const TimeMs patience = 2 * plan.options.max_backoff_ms + 3 * plan.options.lease_ms + 120'000;
  if (now - std::max(plan.faults_end, invariants.last_change()) > patience)
    throw Violation{"no-starvation", open == rows.end() ? "" : open->first,
                    "nothing has changed for " + std::to_string(patience / 1000) + " quiet seconds"};
  if (now > plan.settled() + 3'600'000 * kHoursToEnd)
    throw Violation{"no-starvation", open == rows.end() ? "" : open->first, "the world goes on and on"};
  return false;
}

void World::finish() {
  invariants.sweep(coordinator.ledger().state());
  for (const auto& [id, job] : coordinator.ledger().state().jobs)
    if (!invariants.may_be_gone(id))  // a late copy of a deletion may be on its way
      throw Violation{"ended-jobs-leave-the-memory", id, "still there"};
  invariants.at_end(storage);
  counts.simulated_ms = static_cast<std::uint64_t>(now);
  for (const auto& [id, row] : storage.rows()) {
    ++counts.jobs;
    counts.succeeded += row.record.phase == JobPhase::kSucceeded;
    counts.failed += row.record.phase == JobPhase::kFailed;
    counts.cancelled += row.record.phase == JobPhase::kCancelled;
    trace.mix(row.record.version << 8 | static_cast<std::uint64_t>(row.record.phase));
  }
}

void World::trace_event(const JobEvent& event) {
  trace.mix(event.number << 8 | static_cast<std::uint64_t>(event.phase));
  if (event.type == "leased") ++counts.leases;
  if (!trace.on()) return;
  std::string text = event.job + " " + event.type + ", attempt " + std::to_string(event.attempt);
  if (!event.payload.empty()) text += " " + event.payload.dump();
  note(event.job, text);
}

void World::trace_record(const JobRecord& record) {
  trace.mix(record.fence.n << 32 | record.version);
  trace.mix(static_cast<std::uint64_t>(record.not_before));
}

}  // namespace wring::sim

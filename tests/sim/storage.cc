// Commits, one group after the other.
#include "tests/sim/storage.h"

#include <algorithm>
#include <utility>

#include "server/store/record_json.h"
#include "tests/sim/world.h"

namespace wring::sim {

void Storage::write(Batch batch, Waiting waiting) {
  waiting_.push_back({std::move(batch), std::move(waiting)});
  if (in_flight_.empty()) begin();
}

void Storage::begin() {
  in_flight_.swap(waiting_);
  written_ = false;
  after(world_.random.between(0, 2), kWritten);
}

void Storage::on_event(std::uint32_t kind, std::uint64_t) {
  if (kind == kWritten) {
    if (world_.now < full_until_) {
      waits_for_space_ = true;
      return after(500, kWritten);
    }
    waits_for_space_ = false;
    written_ = true;
    return after(world_.random.between(1, 6), kSynced);
  }
  commit();
}

void Storage::commit() {
  const bool crashes = world_.strikes(Fault::kCrashAtCommit, world_.plan.crash_at_commit);
  const auto place = crashes ? world_.random.below(3) : 0;
  if (crashes && place == 0) written_ = false;
  if (crashes && place == 0) return world_.coordinator.crash("before a commit was on disk");
  for (const auto& item : in_flight_) put(item.batch);
  ++world_.counts.commits;
  std::vector<Item> items;
  items.swap(in_flight_);
  written_ = false;
  std::size_t answered = items.size();
  if (crashes) answered = place == 1 ? 0 : world_.random.below(items.size());
  hand_back(std::move(items), answered);
  if (crashes) return world_.coordinator.crash("after a commit, before its answers");
  if (in_flight_.empty() && !waiting_.empty()) begin();
}

// The callers wake in any order; `most` of them before the process ends.
void Storage::hand_back(std::vector<Item> items, std::size_t most) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[world_.random.below(i)]);
  hands_back_ = true;
  for (std::size_t i = 0; i < most; ++i) world_.coordinator.on_stored(std::move(items[i].waiting));
  hands_back_ = false;
}

void Storage::put(const Batch& batch) {
  world_.invariants.on_commit(batch, *this);
  for (const auto& record : batch.outcome.changed) {
    Row& row = committed_.rows[record.id];
    row.record = record;
    if (batch.submitted) row.plan = plan_of_[record.id] = batch.plan;
  }
  if (const auto& job = batch.outcome.leased) {
    committed_.served[share_key(*job)] = job->fence.n;
    std::erase_if(committed_.served,
                  [&](const auto& turn) { return turn.second + kTurnsRemembered <= job->fence.n; });
  }
  if (const auto& pause = batch.outcome.pause) {
    if (pause->paused)
      committed_.pauses.emplace(pause->kind, pause->name);
    else
      committed_.pauses.erase({pause->kind, pause->name});
  }
  if (const auto& quota = batch.outcome.quota) committed_.quotas[quota->first] = quota->second;
  for (const auto& event : batch.outcome.events) committed_.rows.at(event.job).events.push_back(event);
  if (batch.submitted && !batch.request_id.empty())
    committed_.requests[batch.request_id] = {batch.outcome.changed.front().id, batch.request_digest};
  if (batch.worker) committed_.workers.insert_or_assign(batch.worker->id, *batch.worker);
  if (!batch.removed.empty()) {
    committed_.rows.erase(batch.removed);
    std::erase_if(committed_.requests,
                  [&](const auto& request) { return request.second.first == batch.removed; });
  }
}

// The epoch becomes the time, as there, so that a second restore of one backup has another.
void Storage::restore() {
  ++restores_;
  committed_ = *backup_;
  committed_.epoch = std::max(committed_.epoch + 1, static_cast<std::uint64_t>(world_.wall()));
}

void Storage::crash() {
  if (written_ && world_.random.chance(0.5))
    for (const auto& item : in_flight_) put(item.batch);
  in_flight_.clear();
  waiting_.clear();
  written_ = waits_for_space_ = false;
  ++generation_;
}

StoredState Storage::stored_state() const {
  StoredState stored;
  stored.epoch = committed_.epoch;
  for (const auto& [id, worker] : committed_.workers) stored.workers.push_back(worker);
  stored.served = committed_.served;
  stored.quotas = committed_.quotas;
  for (const auto& [kind, name] : committed_.pauses)
    (kind == PauseRecord::Kind::kProject ? stored.paused_projects : stored.paused_workers).insert(name);
  for (const auto& [key, n] : committed_.served) stored.highest_fence = std::max(stored.highest_fence, n);
  for (const auto& [id, row] : committed_.rows) {
    stored.highest_sequence = std::max(stored.highest_sequence, row.record.sequence);
    if (!is_terminal(row.record.phase)) stored.open_jobs.push_back(record_from_json(to_json(row.record)));
  }
  std::sort(stored.open_jobs.begin(), stored.open_jobs.end(),
            [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return stored;
}

std::optional<JobRecord> Storage::load(const std::string& id) const {
  const Row* found = row(id);
  if (!found) return std::nullopt;
  return record_from_json(to_json(found->record));
}

std::optional<std::pair<std::string, std::string>> Storage::request(const std::string& id) const {
  const auto it = committed_.requests.find(id);
  if (it == committed_.requests.end()) return std::nullopt;
  return it->second;
}

const Row* Storage::row(const std::string& id) const {
  const auto it = committed_.rows.find(id);
  return it == committed_.rows.end() ? nullptr : &it->second;
}

}  // namespace wring::sim

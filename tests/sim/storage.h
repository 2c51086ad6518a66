// The simulated job database: rows, group commits, a cache that a crash loses, a disk that fills up.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/scheduler/ledger.h"
#include "tests/sim/actor.h"

namespace wring::sim {

// One transaction's part: what store's StoreBatch holds of the scheduler.
struct Batch {
  Outcome outcome;
  bool submitted = false;
  std::uint32_t plan = 0;  // of the submitted job
  std::string request_id, request_digest;
  std::optional<WorkerRecord> worker;
  std::string removed;  // a job
};

// Whom the coordinator answers once a batch is on disk, and how.
struct Waiting {
  enum class Call {
    kNobody,
    kSubmit,
    kJob,
    kRegister,
    kLease,
    kStage,
    kFinish,
    kPause,
    kRemove
  } call = Call::kNobody;
  Caller caller;
  Outcome outcome;
  std::uint64_t lease = 0;
  std::string job, request_id;
  std::uint64_t version = 0;  // of `job`, that must be on disk before the answer
};

struct Row {
  JobRecord record;
  std::vector<JobEvent> events;
  std::uint32_t plan = 0;
};

class Storage final : public Actor {
 public:
  using Actor::Actor;
  void on_event(std::uint32_t kind, std::uint64_t what) override;

  void write(Batch batch, Waiting waiting);
  // The coordinator's process ended: what was not on disk is gone.
  void crash();
  void raise_epoch() { ++committed_.epoch; }
  // As `wring-server backup` and `wring-server restore` do; no server runs meanwhile.
  void back_up() { backup_ = committed_; }
  bool has_backup() const { return backup_.has_value(); }
  void restore();
  std::uint32_t restores() const { return restores_; }
  void fill(TimeMs until) { full_until_ = until; }
  bool full() const { return waits_for_space_; }
  // A commit is on disk, and not all who wrote it have heard.
  bool hands_back() const { return hands_back_; }

  // What was committed. Records go through their JSON, as they do in the database.
  StoredState stored_state() const;
  std::optional<JobRecord> load(const std::string& id) const;
  std::optional<std::pair<std::string, std::string>> request(const std::string& id) const;
  using Pauses = std::set<std::pair<PauseRecord::Kind, std::string>>;
  const Pauses& pauses() const { return committed_.pauses; }
  const std::map<std::string, Quota>& quotas() const { return committed_.quotas; }
  const std::map<ShareKey, std::uint64_t>& served() const { return committed_.served; }
  const std::map<std::string, Row>& rows() const { return committed_.rows; }
  const Row* row(const std::string& id) const;
  std::uint32_t plan_of(const std::string& job) const { return plan_of_.at(job); }  // also of one deleted

 private:
  enum Kind : std::uint32_t { kWritten, kSynced };
  struct Item {
    Batch batch;
    Waiting waiting;
  };
  void begin();
  void commit();
  void put(const Batch& batch);
  void hand_back(std::vector<Item> items, std::size_t most);

  struct Database {
    std::uint64_t epoch = 1;
    std::map<std::string, Row> rows;
    std::map<std::string, std::pair<std::string, std::string>> requests;
    std::map<std::string, WorkerRecord> workers;
    std::map<ShareKey, std::uint64_t> served;
    Pauses pauses;
    std::map<std::string, Quota> quotas;
  };
  Database committed_;
  std::optional<Database> backup_;
  std::uint32_t restores_ = 0;
  std::map<std::string, std::uint32_t> plan_of_;
  std::vector<Item> waiting_, in_flight_;
  bool written_ = false;  // in the cache: a crash may find it on disk or not
  bool waits_for_space_ = false;
  bool hands_back_ = false;
  TimeMs full_until_ = 0;
};

}  // namespace wring::sim

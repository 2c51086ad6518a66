// How many workers a batch system should run for the queue: a pure state machine, without I/O and clock.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"

namespace wring {

struct PoolOptions {
  std::size_t min = 0, max = 1;  // batch jobs at a time, one worker each
  TimeMs idle_ms = 60'000;       // how long a batch job is one too many before it is cancelled
  TimeMs start_ms = 300'000;     // from a batch job's start until its worker is heard of
  TimeMs doubt_ms = 60'000;      // a submit that was not answered may show up for so long
  TimeMs hold_ms = 10'000;       // no submits after one that was refused, or was for nothing; doubles
  TimeMs longest_hold_ms = 600'000;
};

enum class BatchState { kPending, kRunning, kEnding };

// One worker's job in the batch system.
struct BatchJob {
  std::string id;
  std::string submit;  // the submit that made it
  BatchState state = BatchState::kPending;
  bool keep = false;  // one of PoolOptions::min, whose worker does not end when it is idle
};

// What is to be seen at one moment.
struct PoolView {
  std::size_t waiting = 0;              // jobs that no worker outside of the pool is free for
  std::map<std::string, bool> workers;  // that are connected, by batch job; true: it has a job
  std::vector<BatchJob> jobs;           // all that the batch system has not ended
  std::size_t array = 1000;             // batch jobs that one submit may have
  std::set<std::string> served;         // batch jobs whose workers have had a job, also between two looks
};

struct PoolPlan {
  struct Submit {
    std::size_t count = 0;
    bool keep = false;
  };
  std::vector<std::string> cancels;  // of batch jobs
  std::vector<Submit> submits;       // in this order, and none after one that was not taken
};

// Never more than `max` batch jobs, as long as a submit that was not answered shows up within doubt_ms or
// never. One thread. Time must not go back.
class Pool {
 public:
  explicit Pool(PoolOptions options) : options_(options) {}

  // What to do now. A cancel that shows no effect within doubt_ms is asked for again.
  PoolPlan plan(const PoolView& view, TimeMs now);

  // A submit is about to be sent, or was before this process started; then came one of these two, or no
  // answer: it stays in doubt until it is seen or doubt_ms are over.
  void submitting(const std::string& submit, TimeMs now) { doubt_ = {submit, now + options_.doubt_ms}; }
  void submitted();
  void refused(TimeMs now);

  bool in_doubt() const { return doubt_.has_value(); }
  TimeMs refused_until() const { return refused_.until; }
  // Submits are held back until then, as workers have ended without a job, though jobs wait.
  TimeMs fruitless_until() const { return fruitless_.until; }

 private:
  struct Seen {
    TimeMs running_since = -1, heard = -1, cancelled = -1;
    bool had_job = false;
  };
  struct Doubt {
    std::string submit;
    TimeMs until = 0;
  };
  struct Hold {
    int times = 0;
    TimeMs until = 0;
  };

  void note(const PoolView& view, TimeMs now);
  void note_ends(const PoolView& view, const std::set<std::string>& present, TimeMs now);
  void resolve_doubt(const PoolView& view, TimeMs now);
  void cancel(const std::string& id, TimeMs now, PoolPlan& plan);
  void cancel_silent(const PoolView& view, TimeMs now, PoolPlan& plan);
  void cancel_excess(const PoolView& view, std::size_t wanted, TimeMs now, PoolPlan& plan);
  void submit_missing(const PoolView& view, std::size_t wanted, TimeMs now, PoolPlan& plan) const;
  std::vector<const BatchJob*> alive(const PoolView& view, TimeMs now) const;
  void hold(Hold& hold, TimeMs now) const;

  const PoolOptions options_;
  std::map<std::string, Seen> seen_;  // by batch job
  std::optional<Doubt> doubt_;
  std::optional<TimeMs> excess_since_;
  Hold refused_, fruitless_;
};

}  // namespace wring

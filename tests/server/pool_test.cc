// The pool of batch jobs: what the queue needs and no more, whatever the batch system and this server do.
#include "server/provision/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr TimeMs kSecond = 1000;

PoolOptions options(std::size_t max, std::size_t min = 0) {
  PoolOptions o;
  o.max = max;
  o.min = min;
  return o;
}

BatchJob batch(const std::string& id, BatchState state = BatchState::kRunning, bool keep = false) {
  return {id, "s", state, keep};
}

std::vector<std::size_t> counts(const PoolPlan& plan) {
  std::vector<std::size_t> counts;
  for (const auto& submit : plan.submits) counts.push_back(submit.count);
  return counts;
}

TEST(Pool, StartsAsManyAsWaitAndNeverMoreThanMax) {
  EXPECT_THAT(counts(Pool(options(8)).plan({3, {}, {}}, 0)), ElementsAre(3));
  EXPECT_THAT(counts(Pool(options(8)).plan({30, {}, {}}, 0)), ElementsAre(8));
  EXPECT_THAT(counts(Pool(options(8)).plan({0, {}, {}}, 0)), IsEmpty());
}

TEST(Pool, CountsThoseThatWaitRunAndEnd) {
  Pool pool(options(4));
  PoolView view{
      9, {{"1", true}}, {batch("1"), batch("2", BatchState::kPending), batch("3", BatchState::kEnding)}};
  EXPECT_THAT(counts(pool.plan(view, 0)), ElementsAre(1));
}

TEST(Pool, AnArrayHasNoMoreThanTheClusterTakes) {
  Pool pool(options(25));
  PoolView view{25, {}, {}};
  view.array = 10;
  EXPECT_THAT(counts(pool.plan(view, 0)), ElementsAre(10, 10, 5));
  view.array = 0;  // a cluster without arrays
  EXPECT_EQ(pool.plan(view, 0).submits.size(), 25u);
}

TEST(Pool, IdleWorkersAreUsedBeforeOthersAreStarted) {
  Pool pool(options(8));
  const PoolView view{2, {{"1", false}, {"2", true}}, {batch("1"), batch("2")}};
  EXPECT_THAT(counts(pool.plan(view, 0)), ElementsAre(1));
}

TEST(Pool, WhatHasNotBegunIsCancelledOnceItWasTooMuchForLongEnough) {
  Pool pool(options(8));
  const PoolView needed{2, {}, {batch("1", BatchState::kPending), batch("2", BatchState::kPending)}};
  PoolView not_needed = needed;
  not_needed.waiting = 0;
  EXPECT_THAT(pool.plan(not_needed, 0).cancels, IsEmpty());
  EXPECT_THAT(pool.plan(not_needed, 59 * kSecond).cancels, IsEmpty());
  EXPECT_THAT(pool.plan(needed, 60 * kSecond).cancels, IsEmpty());  // a short lull
  EXPECT_THAT(pool.plan(not_needed, 61 * kSecond).cancels, IsEmpty());
  EXPECT_THAT(pool.plan(not_needed, 121 * kSecond).cancels, ElementsAre("1", "2"));
  EXPECT_THAT(pool.plan(not_needed, 122 * kSecond).cancels, IsEmpty());
  pool.plan(not_needed, 181 * kSecond);  // the cancel has had no effect
  EXPECT_THAT(pool.plan(not_needed, 241 * kSecond).cancels, ElementsAre("1", "2"));
}

TEST(Pool, AWorkerThatHasNothingToDoIsLeftToEndByItself) {
  Pool pool(options(8));
  const PoolView idle{0, {{"1", false}}, {batch("1")}};
  EXPECT_THAT(pool.plan(idle, 0).cancels, IsEmpty());
  EXPECT_THAT(pool.plan(idle, 1000 * kSecond).cancels, IsEmpty());
}

TEST(Pool, MoreThanMaxAreCancelledAtOnceThoseWithoutWorkFirst) {
  Pool pool(options(1));
  const PoolView view{
      5, {{"1", true}, {"2", false}}, {batch("1"), batch("2"), batch("3", BatchState::kPending)}};
  EXPECT_THAT(pool.plan(view, 0).cancels, ElementsAre("3", "2"));
}

TEST(Pool, MinIsKeptAndItsWorkersAreToldToStay) {
  Pool pool(options(4, 2));
  auto plan = pool.plan({3, {}, {}}, 0);
  ASSERT_EQ(plan.submits.size(), 2u);
  EXPECT_TRUE(plan.submits[0].keep);
  EXPECT_EQ(plan.submits[0].count, 2u);
  EXPECT_FALSE(plan.submits[1].keep);
  EXPECT_EQ(plan.submits[1].count, 1u);
  const PoolView kept{0,
                      {{"1", false}, {"2", false}},
                      {batch("1", BatchState::kRunning, true), batch("2", BatchState::kRunning, true)}};
  EXPECT_THAT(counts(pool.plan(kept, 0)), IsEmpty());
  EXPECT_THAT(pool.plan(kept, 1000 * kSecond).cancels, IsEmpty());
}

TEST(Pool, KeptWorkersBeyondMinEndOnceNobodyNeedsThem) {
  Pool pool(options(4, 1));  // it was 2 before a restart
  const PoolView kept{0,
                      {{"1", false}, {"2", false}},
                      {batch("1", BatchState::kRunning, true), batch("2", BatchState::kRunning, true)}};
  pool.plan(kept, 0);
  EXPECT_THAT(pool.plan(kept, 60 * kSecond).cancels, ElementsAre("1"));
}

TEST(Pool, ARunningBatchJobWhoseWorkerNeverComesIsCancelled) {
  Pool pool(options(4));
  const PoolView view{1, {}, {batch("1")}};
  EXPECT_THAT(pool.plan(view, 0).cancels, IsEmpty());
  EXPECT_THAT(pool.plan(view, 299 * kSecond).cancels, IsEmpty());
  const auto plan = pool.plan(view, 300 * kSecond);
  EXPECT_THAT(plan.cancels, ElementsAre("1"));
  EXPECT_THAT(counts(plan), ElementsAre(1));
}

TEST(Pool, NothingIsSubmittedWhileOneIsInDoubt) {
  Pool pool(options(4));
  pool.submitting("lost", 0);
  EXPECT_THAT(counts(pool.plan({2, {}, {}}, 10 * kSecond)), IsEmpty());
  EXPECT_TRUE(pool.in_doubt());
  PoolView seen{2, {}, {batch("7", BatchState::kPending)}};
  seen.jobs[0].submit = "lost";
  EXPECT_THAT(counts(pool.plan(seen, 20 * kSecond)), ElementsAre(1));
  EXPECT_FALSE(pool.in_doubt());
  pool.submitting("lost too", 20 * kSecond);
  EXPECT_THAT(counts(pool.plan(seen, 79 * kSecond)), IsEmpty());
  EXPECT_THAT(counts(pool.plan(seen, 80 * kSecond)), ElementsAre(1)) << "it was never made";
}

TEST(Pool, ARefusedSubmitIsTriedAgainMoreAndMoreSlowly) {
  Pool pool(options(4));
  TimeMs now = 0;
  for (const TimeMs wait : {10, 20, 40, 80, 160, 320, 600, 600}) {
    EXPECT_THAT(counts(pool.plan({1, {}, {}}, now)), ElementsAre(1));
    pool.submitting("s", now);
    pool.refused(now);
    EXPECT_THAT(counts(pool.plan({1, {}, {}}, now + wait * kSecond - 1)), IsEmpty());
    now += wait * kSecond;
  }
  pool.submitting("s", now);
  pool.submitted();
  EXPECT_THAT(counts(pool.plan({1, {}, {}}, now + 1)), ElementsAre(1));
}

TEST(Pool, WorkersThatEndForNothingAreNotStartedAgainAtOnce) {
  Pool pool(options(4));
  pool.plan({2, {}, {batch("1"), batch("2")}}, 0);
  EXPECT_THAT(counts(pool.plan({2, {}, {}}, kSecond)), IsEmpty());
  EXPECT_EQ(pool.fruitless_until(), 11 * kSecond);
  EXPECT_THAT(counts(pool.plan({2, {}, {}}, 11 * kSecond)), ElementsAre(2));
  pool.plan({2, {}, {batch("3")}}, 12 * kSecond);
  pool.plan({2, {}, {}}, 13 * kSecond);
  EXPECT_EQ(pool.fruitless_until(), 33 * kSecond);
  pool.plan({2, {{"4", true}}, {batch("4")}}, 40 * kSecond);  // one that works ends the suspicion
  pool.plan({2, {}, {}}, 41 * kSecond);
  EXPECT_LT(pool.fruitless_until(), 41 * kSecond);
}

TEST(Pool, AWorkerThatHadJobsBetweenTwoLooksAloneHasNotEndedForNothing) {
  Pool pool(options(4));
  pool.plan({2, {}, {batch("1"), batch("2", BatchState::kPending)}}, 0);
  PoolView between{2, {{"1", false}}, {batch("1"), batch("2")}};
  between.served = {"1"};
  pool.plan(between, kSecond);
  PoolView ended{2, {{"2", false}}, {}};  // the second had its job after that look, and ended before this one
  ended.served = {"2"};
  EXPECT_THAT(counts(pool.plan(ended, 2 * kSecond)), ElementsAre(2));
  EXPECT_EQ(pool.fruitless_until(), 0);
}

// A batch system, its workers and a queue, second by second, all of which fail at random; and a server that
// forgets all but the submit in doubt.
class World {
 public:
  World(unsigned seed, bool faults) : random_(seed), faults_(faults) {
    options_ = options(1 + random_() % 12);
    options_.min = random_() % 3 == 0 ? random_() % (options_.max + 1) : 0;
    pool_ = std::make_unique<Pool>(options_);
  }

  void second(bool arrivals) {
    now_ += kSecond;
    if (arrivals && chance(40)) queued_ += random_() % (options_.max + 1);
    for (auto& [id, job] : jobs_) live(job);
    std::erase_if(jobs_, [](const auto& entry) { return entry.second.over; });
    land_late_submit();
    if (chance(faults_ ? 4 : 5)) poll();
    if (faults_ && chance(100)) restart();
    most_ = std::max(most_, jobs_.size());
  }

  std::size_t queued_ = 0, starts_ = 0, most_ = 0;
  PoolOptions options_;
  bool quiet() const {
    return queued_ == 0 && jobs_.size() == options_.min &&
           std::none_of(jobs_.begin(), jobs_.end(), [](const auto& e) { return e.second.work > 0; });
  }
  std::size_t jobs() const { return jobs_.size(); }

 private:
  struct Job {
    BatchJob batch;
    int until_it_runs = 0, until_it_registers = 0, work = 0, ending = 0;
    TimeMs idle_since = -1;
    bool over = false;
  };

  bool chance(unsigned one_in) { return random_() % one_in == 0; }

  void live(Job& job) {
    if (job.batch.state == BatchState::kEnding) {
      job.over = --job.ending <= 0;
      return;
    }
    if (faults_ && chance(400)) return end(job);  // scancel, a node that fails, a time limit
    if (job.batch.state == BatchState::kPending) {
      if (--job.until_it_runs <= 0) job.batch.state = BatchState::kRunning;
      return;
    }
    if (job.until_it_registers > 0) {
      --job.until_it_registers;
      return;
    }
    if (job.work > 0 && --job.work > 0) return;
    if (queued_ > 0) {
      --queued_;
      job.work = 1 + static_cast<int>(random_() % 90);
      job.idle_since = -1;
    } else if (job.idle_since < 0) {
      job.idle_since = now_;
    } else if (!job.batch.keep && now_ - job.idle_since >= options_.idle_ms) {
      end(job);
    }
  }

  void end(Job& job) {
    if (job.work > 0) ++queued_;  // its lease runs out
    job.work = 0;
    job.batch.state = BatchState::kEnding;
    job.ending = 1 + static_cast<int>(random_() % 5);
  }

  void make(const std::string& submit, const PoolPlan::Submit& what) {
    for (std::size_t i = 0; i < what.count; ++i) {
      Job job;
      job.batch = {std::to_string(++starts_), submit, BatchState::kPending, what.keep};
      job.until_it_runs = static_cast<int>(random_() % 60);
      job.until_it_registers = static_cast<int>(random_() % 10);
      jobs_[job.batch.id] = job;
    }
  }

  void land_late_submit() {
    if (!late_ || now_ < late_at_) return;
    make(late_->first, late_->second);
    late_.reset();
  }

  void poll() {
    PoolView view;
    view.waiting = queued_;
    for (const auto& [id, job] : jobs_) {
      view.jobs.push_back(job.batch);
      if (job.batch.state == BatchState::kRunning && job.until_it_registers == 0)
        view.workers[id] = job.work > 0;
    }
    const auto plan = pool_->plan(view, now_);
    if (!pool_->in_doubt()) doubt_.clear();
    for (const auto& id : plan.cancels)
      if (!faults_ || !chance(5)) end(jobs_.at(id));
    for (const auto& what : plan.submits)
      if (!submit(what)) break;
  }

  bool submit(const PoolPlan::Submit& what) {
    doubt_ = "s" + std::to_string(++submits_);
    pool_->submitting(doubt_, now_);
    const unsigned fate = faults_ ? random_() % 8 : 7;
    if (fate == 0) {  // its answer is lost, and it may land yet
      if (chance(2)) late_.emplace(doubt_, what);
      late_at_ = now_ + static_cast<TimeMs>(random_() % 50) * kSecond;
      return false;
    }
    if (fate == 1) {
      pool_->refused(now_);
      return false;
    }
    make(doubt_, what);
    if (faults_ && chance(10)) {  // dies before it hears of it
      restart();
      return false;
    }
    pool_->submitted();
    doubt_.clear();
    return true;
  }

  void restart() {
    pool_ = std::make_unique<Pool>(options_);
    if (!doubt_.empty()) pool_->submitting(doubt_, now_);
  }

  std::mt19937 random_;
  const bool faults_;
  std::unique_ptr<Pool> pool_;
  std::map<std::string, Job> jobs_;
  std::optional<std::pair<std::string, PoolPlan::Submit>> late_;
  TimeMs now_ = 0, late_at_ = 0;
  std::string doubt_;
  int submits_ = 0;
};

TEST(Pool, InARandomLifeIsNeverAboveMaxServesAllAndComesBackToMin) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    World world(seed, true);
    for (int i = 0; i < 3000; ++i) {
      world.second(true);
      ASSERT_LE(world.jobs(), world.options_.max) << "seed " << seed << ", second " << i;
    }
    int seconds = 0;
    while (!world.quiet() && ++seconds < 50'000) world.second(false);
    EXPECT_TRUE(world.quiet()) << "seed " << seed << ": " << world.queued_ << " queued, " << world.jobs()
                               << " jobs";
  }
}

TEST(Pool, WhereNothingFailsAWorkerIsStartedOnceAndStaysWhileThereIsWork) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    World world(seed, false);
    world.queued_ = 400;
    int seconds = 0;
    while (!world.quiet() && ++seconds < 50'000) world.second(false);
    EXPECT_TRUE(world.quiet()) << "seed " << seed;
    EXPECT_EQ(world.starts_, world.options_.max) << "seed " << seed;
  }
}

}  // namespace
}  // namespace wring

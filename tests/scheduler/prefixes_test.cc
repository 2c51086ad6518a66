// Shared first stages are made once, and nobody waits for nobody.
#include <gmock/gmock.h>

#include <algorithm>

#include "common/random.h"
#include "tests/scheduler/scheduling.h"

namespace wring {
namespace {

class SharedPrefixes : public Scheduling {
 protected:
  SharedPrefixes() { add_worker("v"); }

  void submit(const std::string& id, std::vector<std::string> prefixes) {
    SubmitInput input;
    input.id = id;
    input.needs = {"cpu", 1, 0, {"rtn@1"}};
    input.prefixes = std::move(prefixes);
    apply(input);
  }
  void stage(const JobRecord& job, std::uint32_t index, const std::string& state, double seconds = 2) {
    apply(StageInput{job.id, job.fence, index, state, {{"seconds", seconds}}, true});
  }
  void ended(const JobRecord& job, std::uint32_t index, const std::string& state, Reach reach) {
    apply(StageInput{job.id, job.fence, index, state, {{"seconds", 9}}, true, reach});
  }
  void tick(TimeMs by) {
    now_ += by;
    apply(TickInput{});
  }
};

TEST_F(SharedPrefixes, WhoNeedsWhatIsMadeWaitsAndOthersGoAhead) {
  submit("a", {"p", "pa"});
  submit("b", {"p", "pb"});
  submit("c", {"q"});
  EXPECT_EQ(lease("w").id, "a");
  EXPECT_EQ(lease("v").id, "c");  // b, which came before, holds nobody up
  EXPECT_EQ(waiting_reason(job("b"), now_, state_), "job a makes its first stages");
}

TEST_F(SharedPrefixes, WhatIsSharedFreesThem) {
  submit("a", {"p", "pa"});
  submit("b", {"p", "pb"});
  const auto a = lease("w");
  stage(a, 0, "running");
  stage(a, 0, "done");
  EXPECT_EQ(lease("v").id, "");
  apply(SharedInput{"p"});
  EXPECT_EQ(lease("v").id, "b");
}

TEST_F(SharedPrefixes, WhatTakesNextToNothingHoldsNobodyBack) {
  submit("a", {"p", "pa"});
  submit("b", {"p", "pb"});
  const auto a = lease("w");
  EXPECT_EQ(lease("v").id, "") << "while it is made it may take long";
  stage(a, 0, "done", 0.05);
  EXPECT_EQ(lease("v").id, "b");
}

class Holding : public SharedPrefixes {
 protected:
  // Worker w has made p and shared it, and is free again; "b" begins with it.
  Holding() {
    submit("a", {"p", "pa"});
    const auto a = SharedPrefixes::lease("w");
    stage(a, 0, "done");
    apply(SharedInput{"p"});
    stage(a, 1, "done");
    finish("a", a.fence, "succeeded");
    EXPECT_EQ(lease("w").id, "");
    submit("b", {"p", "pb"});
  }
};

TEST_F(Holding, AJobGoesToTheWorkerThatHasItsInputsWhereSeveralAreFree) {
  EXPECT_EQ(lease("v").id, "");
  EXPECT_EQ(lease("w").id, "b");
}

TEST_F(Holding, AJobThatNobodyHasAnythingOfGoesToWhoAsksFirst) {
  submit("c", {"q"});
  EXPECT_EQ(lease("w").id, "b");
  EXPECT_EQ(lease("v").id, "c");
}

TEST_F(Holding, NobodyWaitsForAWorkerThatIsBusySilentPausedOrCannot) {
  const auto leased_by_v = [&] {
    const auto b = lease("v");
    if (b.id == "b") finish("b", b.fence, "released");
    return b.id;
  };
  now_ += state_.options.preferred_ms;  // w has not asked since
  EXPECT_EQ(leased_by_v(), "b");
  EXPECT_EQ(lease("w").id, "b");
  submit("c", {"p", "pc"});
  EXPECT_EQ(lease("v").id, "c") << "w is busy";
}

TEST_F(Holding, NobodyWaitsForAPausedWorker) {
  apply(PauseWorkerInput{"w", true});
  EXPECT_EQ(lease("v").id, "b");
}

TEST_F(Holding, NobodyWaitsForAWorkerOnWhichItDoesNotFit) {
  add_worker("v", {{"cpu", 1}}, {"rtn@1", "gptq@1"}, 16ull << 30);
  SubmitInput large{"large", {"cpu", 1, 12ull << 30, {"rtn@1"}}};
  large.prefixes = {"p", "pl"};
  large.priority = 1;
  apply(large);
  EXPECT_EQ(lease("v").id, "large");
}

TEST_F(Holding, WhoHasMoreOfItGoesFirst) {
  submit("c", {"p", "pb", "more"});
  const auto b = lease("w");
  EXPECT_EQ(b.id, "b");
  stage(b, 0, "cached");
  add_worker("u");
  EXPECT_EQ(lease("u").id, "") << "w makes pb";
  stage(b, 1, "done");
  apply(SharedInput{"pb"});
  finish("b", b.fence, "succeeded");
  const auto held = state_.holders.ahead_of("u", job("c"));
  EXPECT_EQ(held.front(), "w");
  EXPECT_TRUE(state_.holders.ahead_of("w", job("c")).empty());
}

TEST_F(SharedPrefixes, WhatIsNotSharedIsWaitedForAsLongAsItTookToMakeAndThenMadeByOne) {
  for (const char* id : {"a", "b", "c", "d"}) submit(id, {"p"});
  const auto a = lease("w");
  stage(a, 0, "done", 5);
  finish("a", a.fence, "succeeded");
  tick(4'999);
  EXPECT_EQ(lease("v").id, "");
  tick(1);
  const auto b = lease("v");
  EXPECT_EQ(b.id, "b");
  EXPECT_EQ(lease("w").id, "") << "b makes it";
  stage(b, 0, "done", 5);
  apply(SharedInput{"p"});
  EXPECT_EQ(lease("w").id, "c");
}

TEST_F(SharedPrefixes, WhereNothingIsHeardOfASecondMakerNobodyWaitsAnyMore) {
  for (const char* id : {"a", "b", "c", "d"}) submit(id, {"p"});
  add_worker("u");
  stage(lease("w"), 0, "done", 5);
  tick(5'000);
  stage(lease("v"), 0, "done", 5);
  EXPECT_EQ(lease("u").id, "");
  tick(5'000);
  const auto c = lease("u");
  EXPECT_EQ(c.id, "c");
  finish("a", job("a").fence, "succeeded");
  EXPECT_EQ(lease("w").id, "d");
  for (const char* id : {"e", "f", "g"}) submit(id, {"p"});
  stage(c, 0, "done", 5);  // evicted and made anew, and again nothing is heard
  tick(5'000);
  add_worker("t");
  EXPECT_EQ(lease("t").id, "e");
  add_worker("s");
  EXPECT_EQ(lease("s").id, "f");
}

TEST_F(SharedPrefixes, OneSilenceIsForgottenOnceItIsShared) {
  for (const char* id : {"a", "b", "c", "d", "e", "f"}) submit(id, {"p"});
  stage(lease("w"), 0, "done", 5);
  tick(5'000);
  const auto b = lease("v");
  stage(b, 0, "done", 5);
  apply(SharedInput{"p"});
  add_worker("u");
  const auto c = lease("u");
  EXPECT_EQ(c.id, "c");
  stage(c, 0, "done", 5);  // it was evicted, and made anew
  finish("b", b.fence, "succeeded");
  tick(5'000);
  EXPECT_EQ(lease("v").id, "d");
  add_worker("t");
  EXPECT_EQ(lease("t").id, "") << "d makes it; that it was silent before is long ago";
}

TEST_F(SharedPrefixes, WhatStaysWithItsWorkerIsNotWaitedFor) {
  for (const char* id : {"a", "b", "c"}) submit(id, {"p"});
  add_worker("u");
  const auto a = lease("w");
  EXPECT_EQ(lease("v").id, "");
  ended(a, 0, "done", Reach::kNever);
  const auto b = lease("v");
  EXPECT_EQ(b.id, "b");
  ended(b, 0, "done", Reach::kNever);
  EXPECT_EQ(lease("u").id, "c");
}

TEST_F(SharedPrefixes, WhoMakesItAnewIsWaitedForAgain) {
  submit("a", {"p"});
  submit("b", {"p"});
  auto a = lease("w");
  stage(a, 0, "done", 200);
  finish("a", a.fence, "failed", error("UNAVAILABLE"));
  tick(60'000);
  a = lease("w");
  ASSERT_EQ(a.id, "a");
  for (int i = 0; i < 32; ++i) {  // past the 200 seconds of the first time
    tick(5'000);
    ASSERT_EQ(renew("a", a.fence), LeaseAction::kContinue);
  }
  EXPECT_EQ(lease("v").id, "") << "a makes it";
}

TEST_F(SharedPrefixes, AStepThatWasSkippedIsNowhere) {
  for (const char* id : {"a", "b", "c"}) submit(id, {"p", std::string("p") + id});
  const auto a = lease("w");
  ended(a, 0, "cached", Reach::kNowhere);
  EXPECT_TRUE(state_.holders.ahead_of("v", job("b")).empty());
  ended(a, 1, "cached", Reach::kComes);
  EXPECT_EQ(lease("v").id, "b");
  add_worker("u");
  EXPECT_EQ(lease("u").id, "") << "b makes p";
}

TEST_F(SharedPrefixes, WhereTheMakerEndsWithoutAnotherMakes) {
  submit("a", {"p"});
  submit("b", {"p"});
  submit("c", {"p"});
  const auto a = lease("w");
  EXPECT_EQ(lease("v").id, "");
  finish("a", a.fence, "failed", error("INVALID_ARGUMENT"));
  EXPECT_EQ(lease("v").id, "b");
  EXPECT_EQ(lease("w").id, "");
}

TEST_F(SharedPrefixes, ALeaseThatIsLostFreesThemToo) {
  submit("a", {"p"});
  submit("b", {"p"});
  lease("w");
  EXPECT_EQ(lease("v").id, "");
  tick(state_.options.lease_ms);
  EXPECT_EQ(lease("v").id, "b");  // a waits out its backoff
}

TEST_F(SharedPrefixes, WhatIsAtHandIsNotWaitedFor) {
  submit("a", {"p", "pa"});
  const auto a = lease("w");
  stage(a, 0, "cached");
  submit("b", {"p", "pb"});
  submit("c", {"p", "pc"});
  EXPECT_EQ(lease("v").id, "b");
  add_worker("u");
  EXPECT_EQ(lease("u").id, "c");
}

TEST_F(SharedPrefixes, AnotherAttemptCountsItsStagesAnew) {
  submit("a", {"p", "pa"});
  auto a = lease("w");
  stage(a, 0, "done");
  finish("a", a.fence, "failed", error("UNAVAILABLE"));
  tick(60'000);
  a = lease("w");
  ASSERT_EQ(a.id, "a");
  stage(a, 0, "cached");
  submit("b", {"p", "pa"});
  EXPECT_EQ(lease("v").id, "");  // a makes its second stage
}

TEST_F(SharedPrefixes, WhatIsComputedAfterAllWasNotAtHand) {
  submit("a", {"p"});
  auto a = lease("w");
  stage(a, 0, "cached");
  finish("a", a.fence, "succeeded");
  submit("b", {"p", "pb"});
  submit("c", {"p", "pc"});
  const auto b = lease("w");
  stage(b, 0, "done");
  EXPECT_EQ(lease("v").id, "");
  apply(SharedInput{"p"});
  EXPECT_EQ(lease("v").id, "c");
}

TEST_F(SharedPrefixes, ARestartKnowsWhoMakes) {
  submit("a", {"p", "pa"});
  submit("b", {"p", "pb"});
  lease("w");
  SchedulerState again;
  for (const auto& [id, worker] : state_.workers) again.workers.emplace(id, worker);
  for (const auto& [id, record] : state_.jobs) restore(record, again);
  state_ = std::move(again);
  EXPECT_EQ(lease("v").id, "");
}

TEST_F(SharedPrefixes, AJobThatWaitsCanBePausedAndCancelled) {
  submit("a", {"p"});
  submit("b", {"p"});
  submit("c", {"p"});
  const auto a = lease("w");
  EXPECT_EQ(lease("v").id, "");
  apply(PauseJobInput{"b", true});
  apply(CancelInput{"c"});
  finish("a", a.fence, "failed", error("INVALID_ARGUMENT"));
  EXPECT_EQ(lease("v").id, "");
  apply(PauseJobInput{"b", false});
  EXPECT_EQ(lease("v").id, "b");
}

// A life of random inputs: nothing is made twice at once, whoever waits waits for a job that runs or a time
// that passes, and in the end all jobs end.
class RandomLife : public SharedPrefixes {
 protected:
  // Recipes that fork: of three first stages, each with two seconds, each with two thirds.
  std::vector<std::string> some_prefixes(Random& random) {
    std::vector<std::string> prefixes;
    std::string name;
    for (const std::uint64_t ways : {3, 2, 2}) {
      name += static_cast<char>('a' + random.below(ways));
      prefixes.push_back(name);
    }
    prefixes.resize(random.below(4));
    return prefixes;
  }

  std::vector<JobRecord> running() {
    std::vector<JobRecord> jobs;
    for (const auto& [worker, id] : state_.held) jobs.push_back(state_.jobs.at(id));
    return jobs;
  }

  void check(std::uint64_t seed) {
    for (const auto& [prefix, maker] : state_.prefixes.makers()) {
      const auto it = state_.jobs.find(maker);
      const bool runs = it != state_.jobs.end() && state_.held.contains({it->second.worker, maker});
      if (!runs) after_[prefix] = std::max(after_[prefix], now_);  // then only for so long; see below
      if (runs) after_.erase(prefix);
    }
    for (const auto& [prefix, since] : after_)
      if (state_.prefixes.makers().contains(prefix))
        EXPECT_LE(now_ - since, 310'000) << "seed " << seed << ": " << prefix << " is waited for";
  }

  std::map<std::string, TimeMs> after_;
};

TEST_F(RandomLife, EndsAndMakesNothingTwiceAtOnce) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    state_ = SchedulerState{};
    after_.clear();
    Random random(seed);
    const std::string workers[] = {"u", "v", "w"};
    for (const auto& id : workers) add_worker(id);
    int made = 0;
    for (int i = 0; i < 400; ++i) {
      now_ += static_cast<TimeMs>(random.below(800));
      const bool more = i < 250;
      const auto pick = random.below(10);
      const auto jobs = running();
      if (pick < 2 && more && made < 40) {
        submit("j" + std::to_string(made++), some_prefixes(random));
      } else if (pick < 5) {
        const auto& worker = workers[random.below(3)];
        if (!state_.workers.at(worker).jobs.empty()) continue;
        const auto leased = lease(worker);
        if (leased.id.empty()) continue;
        for (const auto& other : jobs)  // who is leased needs nothing that another one makes
          for (const auto& prefix : leased.prefixes)
            if (const auto it = state_.prefixes.makers().find(prefix); it != state_.prefixes.makers().end())
              EXPECT_NE(it->second, other.id) << "seed " << seed;
      } else if (pick < 8 && !jobs.empty()) {
        const auto& job = jobs[random.below(jobs.size())];
        const auto index = job.stages_made;
        if (index < 3 && random.chance(0.7)) {
          if (random.chance(0.1) && index < job.prefixes.size())
            apply(SharedInput{job.prefixes[index]});  // word overtakes word
          if (random.chance(0.2))
            ended(job, index, "done", Reach::kNever);
          else if (random.chance(0.1))
            ended(job, index, "cached", Reach::kNowhere);
          else
            stage(job, index, random.chance(0.3) ? "cached" : "done", static_cast<double>(random.below(5)));
          if (index < job.prefixes.size() && random.chance(0.5)) apply(SharedInput{job.prefixes[index]});
        } else {
          finish(job.id, job.fence, "succeeded");
        }
      } else if (pick == 8 && !jobs.empty() && more) {
        const auto& job = jobs[random.below(jobs.size())];
        if (random.chance(0.5))
          apply(PauseJobInput{job.id, true});
        else
          finish(job.id, job.fence, "failed", error("UNAVAILABLE"));
      } else {
        apply(TickInput{});
      }
      check(seed);
    }
    for (auto& [id, job] : std::map(state_.jobs))
      if (job.paused) apply(PauseJobInput{id, false});
    for (int i = 0; i < 400; ++i) {  // only time, polls and successes
      tick(2'000);
      for (const auto& job : running()) finish(job.id, job.fence, "succeeded");
      for (const auto& worker : workers) lease(worker);
    }
    for (const auto& [id, job] : state_.jobs)
      EXPECT_TRUE(is_terminal(job.phase)) << "seed " << seed << ": " << id;
    EXPECT_TRUE(state_.prefixes.makers().empty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace wring

// A cluster of thousands of workers and a million trials through the scheduler as it is, in simulated time:
// what a decision costs, and how that grows. Workers renew, report stages, die and come back; the clock is an
// event queue, so nothing sleeps.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace {

using namespace wring;

struct Shape {
  std::uint32_t workers = 0, trials = 0;
  std::uint32_t open = 0;     // trials that the sweep keeps open; 0: all at once
  std::uint32_t parents = 0;  // a trial's first stage is one of so many; 0: none is shared
  double deaths = 0;          // share of attempts in which the worker dies
};

constexpr TimeMs kHeartbeat = 3'000, kTick = 200, kShortest = 30'000, kLongest = 90'000, kAway = 60'000;

// Seconds of a kind of step, thinned once there are many: the mean is of all.
class Cost {
 public:
  void add(double seconds) {
    total_ += seconds;
    if (count_++ % kEach == 0) kept_.push_back(seconds);
  }
  double mean() const { return count_ == 0 ? 0 : total_ / static_cast<double>(count_); }
  double total() const { return total_; }
  void print(const char* what) {
    if (count_ == 0) return;
    std::sort(kept_.begin(), kept_.end());
    const auto at = [&](double share) {
      return 1e6 * kept_[static_cast<std::size_t>(share * static_cast<double>(kept_.size() - 1))];
    };
    std::printf("  %-9s %10llu steps   mean %8.2f us   p50 %8.2f   p99 %8.2f   max %9.1f\n", what,
                static_cast<unsigned long long>(count_), 1e6 * mean(), at(0.5), at(0.99), at(1));
  }

 private:
  static constexpr std::uint64_t kEach = 7;
  std::uint64_t count_ = 0;
  double total_ = 0;
  std::vector<double> kept_;
};

class Cluster {
 public:
  Cluster(const Shape& shape, std::uint64_t seed) : shape_(shape), random_(seed), workers_(shape.workers) {}

  // Returns whether each trial ended once.
  bool run() {
    for (std::uint32_t w = 0; w < shape_.workers; ++w) at(w % 1000, [this, w] { come(w); });
    top_up();
    at(kTick, [this] { tick(); });
    while (ended_ < shape_.trials && !events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      event.act();
    }
    print();
    return ended_ == shape_.trials && doubled_ == 0;
  }

  double decision() const { return costs_.at("lease").mean(); }

 private:
  struct Event {
    TimeMs time;
    std::uint64_t number;  // ties in the order in which they were made
    std::function<void()> act;
    bool operator<(const Event& other) const {
      return std::tie(time, number) > std::tie(other.time, other.number);
    }
  };
  struct Worker {
    std::string job;
    Fence fence;
    std::uint64_t life = 0;  // rises when it dies: what was planned before does not happen
  };

  void at(TimeMs time, std::function<void()> act) { events_.push({time, events_made_++, std::move(act)}); }

  Outcome timed(const char* kind, const SchedulerInput& input) {
    const Stopwatch watch;
    Outcome outcome = step(input, now_, state_);
    costs_[kind].add(watch.seconds());
    return outcome;
  }

  void top_up() {
    const std::uint32_t limit = shape_.open == 0 ? shape_.trials : shape_.open;
    for (; submitted_ < shape_.trials && submitted_ - ended_ < limit; ++submitted_) {
      SubmitInput input{"t" + std::to_string(submitted_), {"cpu", 1, 1u << 30, {"gptq@2", "size@1"}}};
      if (shape_.parents > 0) input.prefixes = {"p" + std::to_string(random_() % shape_.parents)};
      timed("submit", input);
    }
  }

  void come(std::uint32_t w) {
    WorkerRecord record;
    record.id = "w" + std::to_string(w);
    record.devices = {{"cpu", 1}};
    record.memory_bytes = 64ull << 30;
    record.methods = {"gptq@2", "size@1", "rtn@1"};
    timed("register", RegisterInput{record});
    poll(w);
    beat(w, workers_[w].life);
  }

  void poll(std::uint32_t w) {
    Worker& worker = workers_[w];
    const Outcome outcome = timed("lease", LeaseInput{"w" + std::to_string(w), {{"cpu", 1}}});
    const std::uint64_t life = worker.life;
    if (!outcome.leased) {
      at(now_ + 200, [this, w, life] {
        if (workers_[w].life == life) poll(w);
      });
      return;
    }
    worker.job = outcome.leased->id;
    worker.fence = outcome.leased->fence;
    const TimeMs takes = kShortest + static_cast<TimeMs>(random_() % (kLongest - kShortest));
    if (std::uniform_real_distribution<>()(random_) < shape_.deaths) {
      at(now_ + takes / 2, [this, w] { die(w); });
      return;
    }
    report(w, life, 0, "running");
    at(now_ + takes, [this, w, life] { finish(w, life); });
  }

  void report(std::uint32_t w, std::uint64_t life, std::uint32_t index, const char* state) {
    if (workers_[w].life != life) return;
    timed("stage",
          StageInput{workers_[w].job, workers_[w].fence, index, state, {{"seconds", 1.0}}, index == 0});
  }

  void finish(std::uint32_t w, std::uint64_t life) {
    Worker& worker = workers_[w];
    report(w, life, 0, "done");
    if (shape_.parents > 0) timed("shared", SharedInput{state_.jobs.at(worker.job).prefixes.front()});
    report(w, life, 1, "running");
    report(w, life, 1, "done");
    timed("finish", FinishInput{worker.job, worker.fence, "succeeded", "digest", {}});
    doubled_ += state_.jobs.erase(worker.job) != 1;  // as the ledger does with what is stored
    worker.job.clear();
    ++ended_;
    top_up();
    poll(w);
  }

  void die(std::uint32_t w) {
    workers_[w].job.clear();
    ++workers_[w].life;
    at(now_ + kAway, [this, w] { come(w); });
  }

  void beat(std::uint32_t w, std::uint64_t life) {
    at(now_ + kHeartbeat, [this, w, life] {
      Worker& worker = workers_[w];
      if (worker.life != life) return;
      RenewInput input{"w" + std::to_string(w), {}, false};
      if (!worker.job.empty()) input.leases.emplace_back(worker.job, worker.fence);
      timed("renew", input);
      beat(w, life);
    });
  }

  void tick() {
    timed("tick", TickInput{});
    at(now_ + kTick, [this] { tick(); });
  }

  void print() {
    double total = 0;
    for (const auto& [kind, cost] : costs_) total += cost.total();
    std::printf(
        "%u workers, %u trials, %s open, %u shared first stages, %.1f %% of attempts die: %.0f s simulated\n",
        shape_.workers, shape_.trials, shape_.open == 0 ? "all" : std::to_string(shape_.open).c_str(),
        shape_.parents, 100 * shape_.deaths, static_cast<double>(now_) / 1000);
    for (auto& [kind, cost] : costs_) cost.print(kind.c_str());
    std::printf(
        "  %.1f s of processor in all, %.1f us a trial, %.2f %% of a core while it ran; %u ended once each\n",
        total, 1e6 * total / shape_.trials, 1e5 * total / static_cast<double>(now_), ended_);
    std::fflush(stdout);
  }

  Shape shape_;
  std::mt19937_64 random_;
  SchedulerState state_;
  TimeMs now_ = 0;
  std::vector<Worker> workers_;
  std::priority_queue<Event> events_;
  std::map<std::string, Cost> costs_;
  std::uint64_t events_made_ = 0;
  std::uint32_t submitted_ = 0, ended_ = 0, doubled_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulates clusters of growing size on the scheduler"};
  std::uint32_t workers = 10'000, trials = 1'000'000, open = 0, parents = 1000;
  double deaths = 0.01;
  std::uint64_t seed = 1;
  bool one = false;
  app.add_option("--workers", workers, "Of the largest cluster; the others have a tenth and a hundredth")
      ->capture_default_str();
  app.add_option("--trials", trials, "Of the largest one")->capture_default_str();
  app.add_flag("--one", one, "The largest one alone");
  app.add_option("--open", open, "Trials that are open at once; 0: all")->capture_default_str();
  app.add_option("--parents", parents, "Different first stages that trials share; 0: none")
      ->capture_default_str();
  app.add_option("--deaths", deaths, "Share of attempts in which the worker dies")->capture_default_str();
  app.add_option("--seed", seed, "Of the random numbers")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  double before = 0;
  for (const std::uint32_t part : {100u, 10u, 1u}) {
    if (one && part > 1) continue;
    Cluster cluster({workers / part, trials / part, open, parents / part, deaths}, seed);
    if (!cluster.run()) return 1;
    if (before > 0)
      std::printf("  ten times the cluster: a lease costs %.2f times as much\n", cluster.decision() / before);
    before = cluster.decision();
  }
  return 0;
}

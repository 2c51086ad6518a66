// What a lease poll costs the scheduler while many jobs are queued: the time under the coordinator's lock.
#include "server/scheduler/scheduler.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace wring;

constexpr std::uint32_t kKinds = 8;  // of needs

JobNeeds needs(std::uint32_t kind) {
  return {kind % 4 == 3 ? "cuda" : "cpu", 1, std::uint64_t{kind + 1} << 30, {"gptq@1", "perplexity@1"}};
}

WorkerRecord worker(const std::string& id, std::set<std::string> methods) {
  WorkerRecord worker;
  worker.id = id;
  worker.devices = {{"cpu", 1}, {"cuda", 1}};
  worker.memory_bytes = 64ull << 30;
  worker.methods = std::move(methods);
  return worker;
}

// Runs `body` many times; prints microseconds a run: median, 99 % and the longest.
template <typename Body>
void measure(const char* what, int runs, Body body) {
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    const Stopwatch watch;
    body();
    seconds.push_back(watch.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) { return 1e6 * seconds[static_cast<std::size_t>(share * (runs - 1))]; };
  std::printf("  %-28s p50 %9.1f us   p99 %9.1f us   max %9.1f us\n", what, at(0.5), at(0.99), at(1));
}

void run(std::uint32_t jobs, std::uint32_t projects, int polls) {
  SchedulerState state;
  TimeMs now = 1'000'000;
  for (std::uint32_t i = 0; i < jobs; ++i) {
    SubmitInput input{"j" + std::to_string(i), needs(i % kKinds)};
    input.project = "p" + std::to_string(i % projects);
    step(input, now, state);
  }
  step(RegisterInput{worker("idle", {"rtn@1"})}, now, state);
  step(RegisterInput{worker("busy", {"gptq@1", "perplexity@1"})}, now, state);
  const std::map<std::string, std::uint32_t> free{{"cpu", 1}, {"cuda", 1}};
  std::printf("%u jobs of %u projects and %u kinds of needs\n", jobs, projects, kKinds);
  measure("poll, nothing fits", polls, [&] { step(LeaseInput{"idle", free}, ++now, state); });
  measure("poll that leases, and its end", polls, [&] {
    const auto leased = step(LeaseInput{"busy", free}, ++now, state).leased;
    step(FinishInput{leased->id, leased->fence, "succeeded", "r", {}}, now, state);
  });
  measure("tick", polls, [&] { step(TickInput{}, ++now, state); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures the scheduler's steps with many queued jobs"};
  std::uint32_t jobs = 100'000;
  int polls = 1000;
  app.add_option("--jobs", jobs, "How many are queued")->capture_default_str();
  app.add_option("--polls", polls, "How many are measured")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  for (const std::uint32_t projects : {1u, 10u, 1000u}) run(jobs, projects, polls);
  return 0;
}

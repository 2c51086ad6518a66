// wring_sim: runs simulated worlds, seed after seed, and prints what befell them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "common/clock.h"
#include "common/error.h"
#include "tests/sim/minimise.h"
#include "tests/sim/world.h"

namespace {

using namespace wring;
using namespace wring::sim;

struct Options {
  std::uint64_t seeds = 100, first = 1, twice = 20;
  std::uint32_t workers = 0, jobs = 0;
  std::size_t lines = 60;
  bool trace = false, stop = false, brief = false;
};

void print_trace(const Plan& plan, std::size_t lines) {
  World world(plan, true);
  const auto violation = violation_of(world);
  for (const auto& line : world.trace.about(violation ? violation->job : "", lines))
    std::printf("  %s\n", line.c_str());
  if (violation)
    std::printf("  %10.3f s  BROKEN %s: %s %s\n", static_cast<double>(world.now) / 1000,
                violation->invariant.c_str(), violation->job.c_str(), violation->what.c_str());
}

void explain(const Plan& plan, const Violation& violation, const Options& options) {
  std::printf("FAILED seed %llu: %s: %s %s\n", static_cast<unsigned long long>(plan.seed),
              violation.invariant.c_str(), violation.job.c_str(), violation.what.c_str());
  std::fflush(stdout);
  if (options.brief) return;
  const Plan least = minimise(plan, violation, plan.workers > 100 ? 60 : 10);
  std::printf("  at its least: %u workers, %u jobs, %u clients, %.1f s of", least.workers, least.jobs,
              least.clients, static_cast<double>(least.faults_end) / 1000);
  for (int i = 0; i < kFaultKinds; ++i)
    if (least.faults[static_cast<std::size_t>(i)])
      std::printf(" %s", to_string(static_cast<Fault>(i)).data());
  std::printf("\n");
  print_trace(least, options.lines);
}

// Returns whether all held. Some seeds run twice: the trace must be the same.
bool run_seed(std::uint64_t seed, const Options& options, Counts& counts) {
  const Plan plan = make_plan(seed, options.workers, options.jobs);
  World world(plan, false);
  const auto violation = violation_of(world);
  counts.add(world.counts);
  if (violation) {
    explain(plan, *violation, options);
    return false;
  }
  if (seed - options.first < options.twice) {
    World again(plan, false);
    violation_of(again);
    if (again.trace.hash() != world.trace.hash()) {
      std::printf("FAILED seed %llu: two runs differ\n", static_cast<unsigned long long>(seed));
      return false;
    }
  }
  if (options.trace) print_trace(plan, options.lines);
  return true;
}

void print_counts(const Counts& counts, std::uint64_t seeds, double seconds) {
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("%llu seeds in %.1f s (%.1f/s), %.1f simulated hours\n", n(seeds), seconds,
              static_cast<double>(seeds) / seconds, static_cast<double>(counts.simulated_ms) / 3.6e6);
  std::printf("%llu events, %llu steps, %llu refused, %llu commits, %llu restarts\n", n(counts.events),
              n(counts.steps), n(counts.refusals), n(counts.commits), n(counts.recoveries));
  std::printf("%llu jobs, %llu leases; %llu succeeded, %llu failed, %llu cancelled\nfaults:", n(counts.jobs),
              n(counts.leases), n(counts.succeeded), n(counts.failed), n(counts.cancelled));
  for (int i = 0; i < kFaultKinds; ++i)
    std::printf(" %s %llu", to_string(static_cast<Fault>(i)).data(),
                n(counts.faults[static_cast<std::size_t>(i)]));
  std::printf("\n");
}

int run(const Options& options) {
  const Stopwatch watch;
  Counts counts;
  std::uint64_t passed = 0, failed = 0;
  for (std::uint64_t i = 0; i < options.seeds && !(options.stop && failed > 0); ++i)
    ++(run_seed(options.first + i, options, counts) ? passed : failed);
  print_counts(counts, passed + failed, watch.seconds());
  std::printf("%llu passed, %llu failed\n", static_cast<unsigned long long>(passed),
              static_cast<unsigned long long>(failed));
  return failed > 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulates the scheduler with workers, network, disk and clock that fail, from a seed"};
  Options options;
  app.add_option("--seeds", options.seeds, "How many")->capture_default_str();
  app.add_option("--first", options.first, "The first of them")->capture_default_str();
  app.add_option("--workers", options.workers, "Of each world; 0: the seed chooses, up to 50")
      ->capture_default_str();
  app.add_option("--jobs", options.jobs, "Of each world; 0: the seed chooses")->capture_default_str();
  app.add_option("--twice", options.twice, "So many seeds run a second time, to compare")
      ->capture_default_str();
  app.add_option("--lines", options.lines, "Of a trace, at most")->capture_default_str();
  app.add_flag("--trace", options.trace, "Print what happened, also where all held");
  app.add_flag("--stop", options.stop, "At the first seed that fails");
  app.add_flag("--brief", options.brief, "Make no failing seed small");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

// wring_bench: load on a server through its API. scripts/bench service-load starts the server and runs it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/load/load.h"
#include "common/command_line.h"
#include "common/error.h"
#include "recipe/spec.h"

namespace {

using namespace wring;

struct Options {
  Target target;
  v1::JobSpec spec;
  std::string recipe = "gptq(bits=4, group_size=64, samples=16, sequence_length=512)", model, project;
  long count = 0;
  double job_seconds = 0;
  int pages = 100, parallel = 4;
  std::size_t blobs = 32;
  std::uint64_t blob_mib = 32;
  std::string folder;
};

v1::JobSpec spec_of(const Options& options) {
  v1::JobSpec spec;
  spec.set_recipe(options.recipe);
  spec.set_model(options.model);
  spec.set_project(options.project);
  (*spec.mutable_data())["calibration"] = options.model;
  return spec;
}

std::vector<ListCase> list_cases(const std::string& project) {
  std::vector<ListCase> cases(1, {"all", {}});
  cases.emplace_back("open", v1::ListJobsRequest{}).second.add_states(v1::JOB_STATE_QUEUED);
  cases.back().second.add_states(v1::JOB_STATE_RUNNING);
  cases.emplace_back("succeeded", v1::ListJobsRequest{}).second.add_states(v1::JOB_STATE_SUCCEEDED);
  cases.emplace_back("failed", v1::ListJobsRequest{}).second.add_states(v1::JOB_STATE_FAILED);
  cases.emplace_back("failed or cancelled", v1::ListJobsRequest{}).second.add_states(v1::JOB_STATE_FAILED);
  cases.back().second.add_states(v1::JOB_STATE_CANCELLED);
  cases.emplace_back("name, common", v1::ListJobsRequest{}).second.set_name_contains("9");
  cases.emplace_back("name, of ten jobs", v1::ListJobsRequest{}).second.set_name_contains("77777 ");
  cases.emplace_back("name, of none", v1::ListJobsRequest{}).second.set_name_contains("nowhere");
  const auto all = cases.size();
  for (std::size_t i = 0; i < all; ++i) {
    cases.push_back({"project, " + cases[i].first, cases[i].second});
    cases.back().second.set_project(project);
  }
  return cases;
}

void add_commands(CLI::App& app, Options& o) {
  auto* submit = app.add_subcommand("submit", "Submits jobs");
  submit->add_option("--recipe", o.recipe, "Of every job")->capture_default_str();
  submit->add_option("--model", o.model, "Digest of an artifact in the store: model and calibration data")
      ->required();
  submit->add_option("--project", o.project, "Of every job");
  submit->add_option("--count", o.count, "So many jobs, instead of --seconds");
  submit->callback([&o] { std::printf("acknowledged %zu\n", load_submits(o.target, spec_of(o), o.count)); });
  auto* workers = app.add_subcommand("workers", "Leases and ends jobs");
  workers->add_option("--job-seconds", o.job_seconds, "That each job takes")->capture_default_str();
  workers->callback([&o] {
    const auto version = Catalogue::embedded().method("gptq", "").version;
    std::printf("ended %zu\n", load_workers(o.target, {"gptq@" + std::to_string(version)}, o.job_seconds));
  });
  auto* lists = app.add_subcommand("lists", "Lists jobs");
  lists->add_option("--pages", o.pages, "Of 1,000 jobs, before the deep one")->capture_default_str();
  lists->add_option("--project", o.project, "Of the queries for one project")->required();
  lists->callback([&o] { load_lists(o.target, list_cases(o.project), o.pages); });
  auto* transfer = app.add_subcommand("transfer", "Uploads and downloads blobs");
  transfer->add_option("--folder", o.folder, "For files, on the server's disk")->required();
  transfer->add_option("--blobs", o.blobs, "How many")->capture_default_str();
  transfer->add_option("--blob-mib", o.blob_mib, "Size of each")->capture_default_str();
  transfer->add_option("--parallel", o.parallel, "At a time")->capture_default_str();
  transfer->callback([&o] { load_transfers(o.target, o.blobs, o.blob_mib << 20, o.parallel, o.folder); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Puts load on a server and prints what its answers take", "wring_bench"};
  Options options;
  app.add_option("--server", options.target.address, "HOST:PORT of its API")->required();
  app.add_option("--pid", options.target.pid, "Its process, for processor times");
  app.add_option("--token", options.target.token, "Of the caller");
  app.add_option("--clients", options.target.clients, "At the same time, each with a connection")
      ->capture_default_str();
  app.add_option("--seconds", options.target.seconds, "How long")->capture_default_str();
  app.require_subcommand(1);
  add_commands(app, options);
  try {
    if (!parse_command_line(app, {argv + 1, argv + argc})) return 0;
  } catch (...) {
    std::fputs(describe(current_error()).c_str(), stderr);
    return 1;
  }
  return 0;
}

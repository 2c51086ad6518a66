// The program wring-worker: options, signals, and the agent.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <thread>

#include "common/address.h"
#include "common/command_line.h"
#include "common/config.h"
#include "common/error.h"
#include "common/log.h"
#include "common/quantity.h"
#include "common/subprocess.h"
#include "recipe/worker_class.h"
#include "worker/agent.h"

namespace {

constexpr const char* kFooter = R"(
Examples:
  wring-worker --server 127.0.0.1:7433 --cache /var/cache/wring
  wring-worker --server coordinator:7433 --cache /scratch/wring --cache-bytes 200GB --threads 16 --memory 48GB
  wring-worker --config /etc/wring/worker.yaml --drain-seconds 600

SIGTERM and SIGINT drain: no more jobs are taken, the running one goes back to the queue with its finished stages kept.)";

struct Flags {
  wring::WorkerOptions options;
  std::string log_level = "info", log_format = "text";
  bool check_sandbox = false;
};

void declare(CLI::App& app, Flags& flags) {
  auto& o = flags.options;
  app.add_option("--server", o.server, "HOST:PORT of the wring-server (its gRPC port)")
      ->type_name("HOST:PORT");
  app.add_option("--tls", o.tls,
                 "Folder with ca.crt, worker.crt and worker.key, as wring-server init worker makes it")
      ->type_name("DIR");
  app.add_option("--token", o.token, "Token of scope worker, on the server's machine (also WRING_TOKEN)")
      ->envname("WRING_TOKEN");
  app.add_option("--token-file", o.token_file, "File that holds the token; instead of --token")
      ->type_name("FILE");
  app.add_option("--cache", o.cache, "Folder for blobs, finished stages, logs and scratch; one worker each")
      ->type_name("DIR");
  app.add_flag("--cache-below", o.cache_below,
               "Take the first of the folders 0, 1, ... below --cache that no other worker has");
  app.add_option("--cache-bytes", o.cache_bytes, "Limit of blobs, finished stages and snapshots, e.g. 200GB")
      ->transform(wring::bytes_value())
      ->default_str("50GB");
  app.add_option("--threads", o.threads, "Threads of an engine; 0: all cores")->default_val(0);
  app.add_option("--memory", o.memory_bytes, "Memory limit of an engine, e.g. 8GB; 0: none")
      ->transform(wring::bytes_value())
      ->default_str("0");
  app.add_option("--engine", o.engine, "The engine to run; default: wring-engine beside this program")
      ->type_name("PATH");
  app.add_option("--name", o.name, "Name for people; default: the host's");
  app.add_option("--class", o.classes,
                 "Kinds of machine that it is of, with commas between them: jobs and goals may ask for one "
                 "(epyc-16core)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME");
  app.add_option(
         "--metrics", o.metrics,
         "HOST:PORT for Prometheus, e.g. 127.0.0.1:7481; anyone who reaches it may read; default: none")
      ->type_name("HOST:PORT");
  app.add_option("--share-seconds", o.share_seconds,
                 "Stages that took less are not offered to the project's other workers")
      ->check(CLI::NonNegativeNumber)
      ->default_val(2);
  app.add_option("--drain-seconds", o.drain_seconds, "How long a running job may go on after SIGTERM")
      ->check(CLI::NonNegativeNumber)
      ->default_val(0);
  app.add_option("--config", o.config,
                 "YAML file with any of these options as keys (server: HOST:PORT); flags win")
      ->type_name("YAML");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
      ->default_val("info");
  app.add_option("--log-format", flags.log_format, "text, or json: one object a line, with the job's id")
      ->default_val("text");
  app.add_flag(
         "--sandbox,!--no-sandbox", o.sandbox,
         "Keep engines from the network, other programs, other processes and other jobs' files, as far as "
         "this kernel can")
      ->default_val(true);
  app.add_flag("--check-sandbox", flags.check_sandbox,
               "Print as JSON what of the sandbox this kernel allows");
  app.add_flag("--once", o.once, "End after one job");
  app.add_option("--exit-when-idle", o.exit_when_idle,
                 "End after so many seconds without a job, also where the server is away; 0: stay")
      ->check(CLI::NonNegativeNumber)
      ->default_val(0);
  app.set_version_flag("--version", WRING_VERSION);
  app.footer(kFooter);
}

// A command line is to be read by every program of the machine, an engine too.
void hide_token(int argc, char** argv) {
  constexpr std::string_view kFlag = "--token";
  for (int i = 1; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (text.starts_with(kFlag) && text.substr(kFlag.size(), 1) == "=")
      std::memset(argv[i] + kFlag.size() + 1, '*', text.size() - kFlag.size() - 1);
    else if (text == kFlag && i + 1 < argc)
      std::memset(argv[i + 1], '*', std::strlen(argv[i + 1]));
  }
}

void check_options(const wring::WorkerOptions& options) {
  const auto require = [](bool given, const char* name, const char* hint) {
    if (!given)
      throw wring::Error(wring::ErrorCode::kInvalidArgument, "MISSING_OPTION", "must be given", name, hint);
  };
  require(!options.server.empty(), "--server", "HOST:PORT of the wring-server; --help shows examples.");
  wring::parse_address(options.server, "--server");
  if (!options.metrics.empty()) wring::parse_address(options.metrics, "--metrics");
  for (const auto& name : options.classes) wring::check_worker_class(name, "--class");
  require(!options.cache.empty(), "--cache", "A folder of this worker's own; --help shows examples.");
}

// Turns SIGTERM and SIGINT into drain(). The signals must be blocked in every thread.
void drain_on_signal(wring::Agent& agent, const sigset_t& signals, const std::stop_token& stop) {
  const timespec moment{0, 200'000'000};
  while (!stop.stop_requested()) {
    const int number = ::sigtimedwait(&signals, nullptr, &moment);
    if (number <= 0) continue;
    spdlog::info("signal {}: draining", number);
    agent.drain();
  }
}

void run(const wring::WorkerOptions& options, const sigset_t& signals) {
  wring::Agent agent(options);
  const std::jthread waiter([&](const std::stop_token& stop) { drain_on_signal(agent, signals, stop); });
  agent.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Runs compression jobs for a wring-server: leases them, fetches inputs, starts an engine for each, "
      "hands in results.",
      "wring-worker");
  Flags flags;
  declare(app, flags);
  wring::limit_spinning_of_children();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    if (!wring::parse_command_line(app, {argv + 1, argv + argc})) return 0;
    hide_token(argc, argv);
    if (!flags.options.config.empty()) wring::apply_config(app, flags.options.config);
    wring::init_logging("wring-worker", flags.log_level, flags.log_format);
    if (flags.options.engine.empty()) flags.options.engine = wring::sibling_program("wring-engine");
    if (flags.check_sandbox) {
      const wring::Sandbox sandbox(std::filesystem::absolute(flags.options.engine), {});
      std::puts(sandbox.to_json().dump().c_str());
      return 0;
    }
    check_options(flags.options);
    run(flags.options, signals);
    return 0;
  } catch (...) {
    const auto error = wring::current_error();
    std::fputs(wring::describe(error).c_str(), stderr);
    return wring::exit_status(error.code());
  }
}

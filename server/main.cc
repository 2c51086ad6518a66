// wring-server: the coordinator's process.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "common/address.h"
#include "common/command_line.h"
#include "common/config.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "common/quantity.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "server/api/grpc_server.h"
#include "server/http/routes.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/collect.h"
#include "server/upkeep/data_lock.h"
#include "server/upkeep/fsck.h"

namespace {

using namespace wring;
namespace fs = std::filesystem;

struct StageCacheFlags {
  double days = 30;
  std::uint64_t bytes = 100'000'000'000;

  void add_to(CLI::App& app) {
    app.add_option("--stage-cache-days", days,
                   "Outputs of stages that a project's workers share are forgotten when unused for so long")
        ->check(CLI::Range(0.0, 1e5))
        ->capture_default_str();
    app.add_option("--stage-cache-bytes", bytes,
                   "Limit of all such outputs; collection forgets those unused for longest")
        ->transform(bytes_value())
        ->default_str("100GB");
  }
  StageCacheLimits limits() const { return {static_cast<TimeMs>(days * 86'400'000), bytes}; }
};

struct Options {
  std::string data, grpc = "127.0.0.1:7433", http = "127.0.0.1:7480", log_level = "info";
  double lease_seconds = 15, heartbeat_seconds = 3;
  double gc_hours = 1, gc_grace_hours = 24;
  StageCacheFlags stages;
  bool insecure_plaintext = false;
  std::string dashboard;
  std::vector<std::string> http_names;
};

TimeMs in_ms(double hours) {
  return static_cast<TimeMs>(hours * 3'600'000);
}

Address address_to_listen_on(const std::string& text, const std::string& field, bool any_host) {
  Address address = parse_address(text, field);
  if (address.host == "localhost") address.host = "127.0.0.1";
  const bool loopback = address.host.starts_with("127.") || address.host == "::1" || address.host == "[::1]";
  if (!loopback && !any_host)
    throw Error(ErrorCode::kInvalidArgument, "PLAINTEXT_REFUSED",
                address.host + " can be reached from other machines, and the connection is not encrypted",
                field,
                "Listen on 127.0.0.1, or ask for it with --insecure-plaintext on a network you trust.");
  return address;
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

// Where scripts/build and an installation put the page, seen from this program.
fs::path built_dashboard() {
  return sibling_program("../share/wring/dashboard");
}

int serve(const Options& options) {
  init_logging("wring-server", options.log_level);
  const auto grpc_address = address_to_listen_on(options.grpc, "grpc", options.insecure_plaintext);
  const auto http_address = address_to_listen_on(options.http, "http", options.insecure_plaintext);
  if (options.heartbeat_seconds * 2 > options.lease_seconds)
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "two heartbeats must fit into a lease",
                "--heartbeat-seconds", "At most half of --lease-seconds.");
  const fs::path folder = fs::absolute(options.data);
  const FileDescriptor lock = lock_data(folder);
  const sigset_t signals = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts; sigwait takes them below
  ::signal(SIGPIPE, SIG_IGN);

  const SystemClock clock;
  Metrics metrics;
  JobStore store(folder);
  BlobStore blobs(folder);
  SchedulerOptions scheduler;
  scheduler.lease_ms = static_cast<TimeMs>(options.lease_seconds * 1000);
  Coordinator coordinator(store, clock, metrics, scheduler);
  std::optional<Collector> collector;
  if (options.gc_hours > 0)
    collector.emplace(store, blobs, clock, in_ms(options.gc_hours), in_ms(options.gc_grace_hours),
                      options.stages.limits());
  const Backend backend{coordinator, store, blobs, clock, metrics, options.heartbeat_seconds};

  GrpcServer server(backend, grpc_address.host + ":" + std::to_string(grpc_address.port));
  const RouteOptions routes{options.dashboard.empty() ? built_dashboard() : fs::path(options.dashboard),
                            options.http_names};
  const HttpServer http(http_address.host, http_address.port, make_routes(backend, routes));

  const Json endpoints{{"grpc", grpc_address.host + ":" + std::to_string(server.port())},
                       {"http", http_address.host + ":" + std::to_string(http.port())},
                       {"pid", ::getpid()}};
  write_file_atomic(folder / "endpoints.json", endpoints.dump() + "\n");
  spdlog::info("ready: gRPC {}, HTTP {}, data {}", endpoints["grpc"].get<std::string>(),
               endpoints["http"].get<std::string>(), folder.string());

  int signal_number = 0;
  ::sigwait(&signals, &signal_number);
  spdlog::info("stopping on signal {}", signal_number);
  server.stop();
  std::error_code ignored;
  fs::remove(folder / "endpoints.json", ignored);
  return 0;
}

void print(const Json& report, bool as_json, const std::string& text) {
  std::fputs(((as_json ? report.dump(2) : text) + "\n").c_str(), stdout);
}

std::string in_words(const BackupReport& report, const std::string& what) {
  return what + ": " + std::to_string(report.jobs) + " jobs, " + std::to_string(report.artifacts) +
         " artifacts of " + std::to_string(report.blobs) + " blobs, " + human_bytes(report.bytes) + " (" +
         human_bytes(report.copied_bytes) + " copied now)" +
         (report.lost.empty() ? ""
                              : "\n" + std::to_string(report.lost.size()) +
                                    " blobs are damaged or missing where they were to be copied from: " +
                                    join(report.lost, ", ") + "\nwring-server fsck says what they touch.");
}

std::string in_words(const FsckReport& report) {
  std::string text = std::to_string(report.blobs) + " blobs, " + human_bytes(report.bytes) + ", are whole; " +
                     std::to_string(report.unused) + " are in no artifact";
  for (const auto& line : report.database) text += "\ndatabase: " + line;
  for (const auto& digest : report.unreadable) text += "\ncannot be read: blob " + digest;
  for (const auto& digest : report.corrupt) text += "\nset aside, damaged: blob " + digest;
  for (const auto& artifact : report.artifacts)
    text +=
        "\nartifact " + artifact.digest + " " + artifact.name + " lacks " + std::to_string(artifact.missing) +
        " chunks; jobs that read or made it: " + (artifact.jobs.empty() ? "none" : join(artifact.jobs, ", "));
  return text +
         (report.is_clean() ? "\nclean" : "\nUpload what is missing again (wring put), or restore a backup.");
}

int back_up_to(const std::string& data, const std::string& to, bool as_json) {
  const auto report = back_up(data, to);
  print(report.to_json(), as_json, in_words(report, "backed up to " + to));
  return report.lost.empty() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int restore_from(const std::string& from, const std::string& data, bool as_json) {
  const auto report = restore_backup(from, data, SystemClock());
  print(report.to_json(), as_json, in_words(report, "restored into " + data));
  return report.lost.empty() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int check(const std::string& data, bool as_json) {
  const auto report = check_data(data);
  print(report.to_json(), as_json, in_words(report));
  return report.is_clean() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int collect(const std::string& data, double grace_hours, const StageCacheLimits& stages, bool as_json) {
  check_has_database(data);
  const FileDescriptor lock = lock_data(data);
  JobStore store(data);
  BlobStore blobs(data);
  const auto report = collect_garbage(store, blobs, SystemClock().now_ms(), in_ms(grace_hours), stages);
  print(report.to_json(), as_json,
        std::to_string(report.expired) + " artifacts had expired; forgot " + std::to_string(report.stages) +
            " outputs of stages; deleted " + std::to_string(report.blobs) + " blobs, " +
            human_bytes(report.bytes) + "; " + std::to_string(report.kept) + " are in use");
  return 0;
}

struct UpkeepFlags {
  std::string data, other;
  double grace_hours = 24;
  StageCacheFlags stages;
  bool json = false;
};

// Verbs beside the server itself; `status` gets the exit status of the one that was called.
void add_upkeep(CLI::App& app, UpkeepFlags& flags, int& status) {
  const auto add = [&](const char* name, const char* help, const char* example, auto run) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->add_option("--data", flags.data, "Folder of the job database and the blobs")->required();
    verb->add_flag("--json", flags.json, "Print the report as JSON");
    verb->footer(std::string("Example:\n  ") + example);
    verb->callback([&flags, &status, run] {
      init_logging("wring-server", "warn");
      status = run(flags);
    });
    return verb;
  };
  add("backup", "Copy the job database and all artifacts while the server runs",
      "wring-server backup --data /var/lib/wring --to /backup/wring",
      [](const UpkeepFlags& f) { return back_up_to(f.data, f.other, f.json); })
      ->add_option("--to", flags.other, "Folder of the backup; a second one into it copies what is new")
      ->required();
  add("restore", "Make a new data folder from a backup",
      "wring-server restore --from /backup/wring --data /var/lib/wring",
      [](const UpkeepFlags& f) { return restore_from(f.other, f.data, f.json); })
      ->add_option("--from", flags.other, "Folder of the backup")
      ->required();
  add("fsck",
      "Read everything in a data folder, or a backup, whose server is stopped; set damaged blobs aside",
      "wring-server fsck --data /var/lib/wring", [](const UpkeepFlags& f) { return check(f.data, f.json); });
  auto* gc = add("gc", "Delete expired artifacts and unused blobs of a data folder whose server is stopped",
                 "wring-server gc --data /var/lib/wring --grace-hours 0", [](const UpkeepFlags& f) {
                   return collect(f.data, f.grace_hours, f.stages.limits(), f.json);
                 });
  flags.stages.add_to(*gc);
  gc->add_option("--grace-hours", flags.grace_hours, "Keep blobs that were in use so recently")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Wring's coordinator: accepts jobs, schedules them onto workers, keeps artifacts and results",
               "wring-server"};
  app.set_version_flag("--version", WRING_VERSION);
  Options options;
  std::string config;
  app.add_option("--config", config, "YAML file with any of these options as keys; flags win");
  app.add_option("--data", options.data, "Folder of the job database and the blobs");
  app.add_option("--grpc", options.grpc, "HOST:PORT of the API; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--http", options.http, "HOST:PORT of the dashboard, JSON, /healthz and /metrics")
      ->capture_default_str();
  app.add_option("--http-name", options.http_names,
                 "A host name that browsers call this server by; may be given more than once");
  app.add_option("--dashboard", options.dashboard,
                 "Folder of the built page; default: ../share/wring/dashboard beside this program");
  app.add_option("--lease-seconds", options.lease_seconds, "A lease that is not renewed for so long is lost")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--heartbeat-seconds", options.heartbeat_seconds, "How often a worker must be heard of")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  app.add_option("--gc-hours", options.gc_hours, "How often unused blobs are deleted; 0: never")
      ->check(CLI::Range(0.001, 1e6) | CLI::IsMember({"0"}))
      ->capture_default_str();
  app.add_option("--gc-grace-hours", options.gc_grace_hours,
                 "Unused blobs are kept so long: more than the longest upload or backup takes")
      ->check(CLI::Range(0.01, 1e6))
      ->capture_default_str();
  options.stages.add_to(app);
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  app.add_flag("--insecure-plaintext", options.insecure_plaintext,
               "Allow addresses other than loopback without TLS");
  app.footer("Example:\n  wring-server --data /var/lib/wring --grpc 127.0.0.1:7433 --http 127.0.0.1:7480");
  UpkeepFlags upkeep;
  int status = 0;
  app.require_subcommand(0, 1);
  add_upkeep(app, upkeep, status);
  try {
    if (!parse_command_line(app, {argv + 1, argv + argc})) return 0;
    if (!app.get_subcommands().empty()) return status;
    if (!config.empty()) apply_config(app, config);
    if (options.data.empty())
      throw Error(ErrorCode::kInvalidArgument, "MISSING_OPTION", "must be given", "--data",
                  "A folder of this server's own; --help shows an example.");
    return serve(options);
  } catch (...) {
    const Error error = current_error();
    std::fputs(describe(error).c_str(), stderr);
    return exit_status(error.code());
  }
}

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
#include "common/subprocess.h"
#include "server/api/grpc_server.h"
#include "server/auth/certificates.h"
#include "server/http/routes.h"
#include "server/http/standby.h"
#include "server/provision/provisioner.h"
#include "server/stage_cache_flags.h"
#include "server/store/place.h"
#include "server/upkeep/collect.h"
#include "server/upkeep/data_lock.h"
#include "server/verbs.h"

namespace {

using namespace wring;
namespace fs = std::filesystem;

struct Options {
  std::string config, data, grpc = "127.0.0.1:7433", http = "127.0.0.1:7480", log_level = "info",
                            log_format = "text";
  double lease_seconds = 15, heartbeat_seconds = 3;
  double gc_hours = 1, gc_grace_hours = 24;
  StageCacheFlags stages;
  bool insecure_plaintext = false;
  double calls_per_second = DoorOptions{}.calls_per_second;
  int open_calls = DoorOptions{}.open_calls;
  std::string dashboard;
  std::vector<std::string> http_names;
  std::string provision, provision_config;
};

TimeMs in_ms(double hours) {
  return static_cast<TimeMs>(hours * 3'600'000);
}

Address address_to_listen_on(const std::string& text, const std::string& field, bool any_host) {
  Address address = parse_address(text, field);
  if (address.host == "localhost") address.host = "127.0.0.1";
  if (!is_loopback(address.host) && !any_host)
    throw Error(ErrorCode::kInvalidArgument, "PLAINTEXT_REFUSED",
                address.host + " can be reached from other machines, and the connection is not encrypted",
                field,
                "wring-server init makes certificates for TLS; or listen on 127.0.0.1; or ask for it with "
                "--insecure-plaintext on a network you trust.");
  return address;
}

// What wring-server init has made, unless plain text was asked for.
std::optional<TlsFiles> tls_of(const Options& options) {
  if (options.insecure_plaintext) return std::nullopt;
  return read_tls(fs::path(options.data) / kTlsFolder, "server");
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

// What workers on other machines dial; on loopback there are none.
std::string address_for_workers(const Address& address, int port) {
  std::string host = address.host;
  if (host == "0.0.0.0" || host == "[::]") host = host_name();
  return host + ":" + std::to_string(port);
}

RouteOptions route_options(const Options& options, const std::optional<TlsFiles>& tls,
                           const std::optional<Provisioner>& provisioner) {
  RouteOptions routes{
      options.dashboard.empty() ? built_dashboard() : fs::path(options.dashboard), options.http_names, {}};
  if (provisioner) routes.provisioner = [&provisioner] { return provisioner->health(); };
  if (tls)
    for (const auto& host : hosts_of(tls->certificate)) routes.names.push_back(host);
  return routes;
}

// Waits until the database is this server's to write; false where a signal comes first.
bool leads(Database& database, const Address& http, const std::optional<TlsFiles>& tls,
           const sigset_t& signals) {
  if (database.lead()) return true;
  spdlog::info("another server leads; this one stands by");
  const HttpServer standby(http.host, http.port, standby_answer, tls);
  constexpr timespec kBetweenTries{0, 250'000'000};
  do {
    if (::sigtimedwait(&signals, nullptr, &kBetweenTries) > 0) return false;
  } while (!database.lead());
  spdlog::info("this server leads from now on");
  return true;
}

int serve(const Options& options) {
  init_logging("wring-server", options.log_level, options.log_format);
  const auto tls = tls_of(options);
  const bool any_host = tls || options.insecure_plaintext;
  const auto grpc_address = address_to_listen_on(options.grpc, "grpc", any_host);
  const auto http_address = address_to_listen_on(options.http, "http", any_host);
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
  auto database = open_database(folder);
  if (!leads(*database, http_address, tls, signals)) return 0;
  JobStore store(std::move(database));
  BlobStore blobs(folder);
  blobs.claim_place(store.id(), store.is_empty());
  SchedulerOptions scheduler;
  scheduler.lease_ms = static_cast<TimeMs>(options.lease_seconds * 1000);
  Coordinator coordinator(store, clock, metrics, scheduler);
  std::optional<Collector> collector;
  if (options.gc_hours > 0)
    collector.emplace(store, blobs, metrics, clock, in_ms(options.gc_hours), in_ms(options.gc_grace_hours),
                      options.stages.limits());
  Sweeps sweeps(store, coordinator, clock);
  Tokens tokens(store);
  Door door(store, tokens, clock, {tls.has_value(), options.calls_per_second, options.open_calls});
  const Backend backend{
      coordinator, sweeps, store, blobs, tokens, door, clock, metrics, options.heartbeat_seconds};

  std::optional<ProvisionConfig> provision;
  if (!options.provision.empty()) provision = read_provision_config(options.provision_config);
  GrpcServer server(backend, grpc_address.host + ":" + std::to_string(grpc_address.port), tls);
  std::optional<Provisioner> provisioner;
  if (provision)
    provisioner.emplace(*provision, address_for_workers(grpc_address, server.port()), folder, coordinator,
                        clock, metrics);
  const HttpServer http(http_address.host, http_address.port,
                        make_routes(backend, route_options(options, tls, provisioner)), tls);

  const Json endpoints{{"grpc", grpc_address.host + ":" + std::to_string(server.port())},
                       {"http", http_address.host + ":" + std::to_string(http.port())},
                       {"tls", tls.has_value()},
                       {"pid", ::getpid()}};
  write_file_atomic(folder / "endpoints.json", endpoints.dump() + "\n");
  spdlog::info("ready: gRPC {}, HTTP {}, data {}, {}, {}", endpoints["grpc"].get<std::string>(),
               endpoints["http"].get<std::string>(), folder.string(), tls ? "TLS" : "plain text",
               door.is_open() ? "no token needed" : "token needed");

  int signal_number = 0;
  ::sigwait(&signals, &signal_number);
  spdlog::info("stopping on signal {}", signal_number);
  server.stop();
  std::error_code ignored;
  fs::remove(folder / "endpoints.json", ignored);
  return 0;
}

void declare(CLI::App& app, Options& options) {
  app.set_version_flag("--version", WRING_VERSION);
  app.add_option("--config", options.config, "YAML file with any of these options as keys; flags win");
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
  app.add_option("--provision", options.provision,
                 "Start workers as jobs of a batch system as the queue needs them: slurm")
      ->check(CLI::IsMember({"slurm"}));
  app.add_option("--provision-config", options.provision_config,
                 "YAML file that says which jobs (docs/slurm.md)")
      ->type_name("FILE");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  app.add_option("--log-format", options.log_format,
                 "text, or json: one object a line, with job and request ids")
      ->capture_default_str();
  app.add_flag("--insecure-plaintext", options.insecure_plaintext,
               "No TLS, also on addresses other than loopback");
  app.add_option("--calls-per-second", options.calls_per_second,
                 "Calls that one token may make in a second; 0: any number")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--open-calls", options.open_calls, "Calls that one token may have open at a time")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Wring's coordinator: accepts jobs, schedules them onto workers, keeps artifacts and results",
               "wring-server"};
  Options options;
  declare(app, options);
  app.footer("Example:\n  wring-server --data /var/lib/wring --grpc 127.0.0.1:7433 --http 127.0.0.1:7480");
  int status = 0;
  add_verbs(app, status);
  try {
    if (!parse_command_line(app, {argv + 1, argv + argc})) return 0;
    if (!app.get_subcommands().empty()) return status;
    if (!options.config.empty()) apply_config(app, options.config);
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

// The verbs up and down: a server and its workers on this machine, kept running by this process.
#include "client/cli/service.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <thread>

#include "client/cli/context.h"
#include "client/cli/programs.h"
#include "common/clock.h"
#include "common/cores.h"
#include "common/text.h"
#include "recipe/worker_class.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr double kReadySeconds = 120;  // from a cold network file system libtorch takes long
constexpr double kStopSeconds = 10;
constexpr double kSteadySeconds = 60;  // a program that ran so long may fail again without being given up
constexpr int kRestarts = 5;

std::atomic<int> stop_signals{0};

std::string last_lines(const fs::path& log, std::uintmax_t begin) {
  std::error_code ignored;
  if (fs::file_size(log, ignored) <= begin || ignored) return "";
  const auto text = read_file(log, 1u << 30).substr(begin);
  std::size_t at = text.size();
  for (int line = 0; line < 8 && at != std::string::npos && at > 0; ++line) at = text.rfind('\n', at - 1);
  return at == std::string::npos || at == 0 ? text : text.substr(at + 1);
}

// A program that is started again when it ends by itself.
class Kept {
 public:
  Kept(std::string name, std::vector<std::string> argv, fs::path log)
      : name_(std::move(name)), argv_(std::move(argv)), log_(std::move(log)) {}

  void start() {
    std::error_code none;
    const auto before = fs::file_size(log_, none);
    log_begin_ = none ? 0 : before;
    FileDescriptor log(::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!log) throw_io_error("open", log_, errno);
    SubprocessOptions options;
    options.argv = argv_;
    options.descriptors = {{log.get(), STDOUT_FILENO}, {log.get(), STDERR_FILENO}};
    process_.reset();
    process_.emplace(options);
    since_ = Stopwatch();
  }
  void set_arguments(std::vector<std::string> argv) { argv_ = std::move(argv); }
  bool running() { return process_ && !process_->poll(); }

  // Starts it again where it has ended; throws when that happens too often.
  void keep() {
    if (running()) return;
    if (since_.seconds() > kSteadySeconds) restarts_ = 0;
    if (++restarts_ > kRestarts) throw_ended();
    std::fprintf(stderr, "%s ended; starting it again (log: %s)\n", name_.c_str(), log_.c_str());
    start();
  }
  [[noreturn]] void throw_ended() {
    const auto status = process_->wait();
    const auto how = status.signal ? "was killed by signal " + std::to_string(status.signal)
                                   : "ended with status " + std::to_string(status.code);
    const bool refused = !status.signal && status.code == exit_status(ErrorCode::kInvalidArgument);
    throw Error(refused ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable, "PROGRAM_ENDED",
                name_ + " " + how, "",
                "Its log, " + log_.string() + ", ends with:\n" + last_lines(log_, log_begin_));
  }
  // Until it has ended, but no longer than kStopSeconds or another signal.
  void await() {
    const int patience = stop_signals;
    for (Stopwatch watch; running() && watch.seconds() < kStopSeconds && stop_signals <= patience;)
      std::this_thread::sleep_for(20ms);
  }
  void stop() {
    if (!running()) return;
    process_->signal(SIGTERM);
    await();
    if (running()) process_->signal(SIGKILL);
    process_->wait();
  }

 private:
  std::string name_;
  std::vector<std::string> argv_;
  fs::path log_;
  std::uintmax_t log_begin_ = 0;  // of what the newest process wrote
  std::optional<Subprocess> process_;
  Stopwatch since_;
  int restarts_ = 0;
};

// Waits until `done` says so. Throws when `what` takes longer than kReadySeconds or one of `programs` ends
// meanwhile: that, and not the connection that it took along, is then the error.
template <typename Done>
void wait_until(const std::string& what, std::initializer_list<Kept*> programs, Done done) {
  const auto is_done = [&] {
    try {
      return done();
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kUnavailable) throw;
      return false;
    }
  };
  for (Stopwatch watch; !is_done(); std::this_thread::sleep_for(50ms)) {
    for (auto* program : programs)
      if (!program->running()) program->throw_ended();
    if (stop_signals > 0) throw Error(ErrorCode::kCancelled, "CANCELLED", "stopped before " + what);
    if (watch.seconds() > kReadySeconds)
      throw Error(ErrorCode::kUnavailable, "NOT_READY",
                  what + " did not happen in " + format_number(kReadySeconds, 0) + " seconds");
  }
}

// A server of this machine's loopback.
ClientConfig local_config(const Endpoints& endpoints) {
  ClientConfig config;
  config.server = endpoints.grpc;
  return config;
}

ClientConfig config_of(const ServiceOptions& options, const Endpoints& endpoints) {
  return options.connect ? options.connect(endpoints) : local_config(endpoints);
}

Endpoints start_server(Kept& server, const fs::path& data, const ServiceOptions& options) {
  fs::remove(data / "endpoints.json");
  server.start();
  std::optional<Endpoints> endpoints;
  wait_until("the server's addresses", {&server},
             [&] { return (endpoints = read_endpoints(data)).has_value(); });
  Client client(config_of(options, *endpoints));
  wait_until("the server's readiness", {&server}, [&] { return client.ready(0.5); });
  return *endpoints;
}

// The lock that the one `wring up` of a data folder holds; its file holds the process's id.
FileDescriptor lock_file(const fs::path& data) {
  const auto path = data / "up.pid";
  FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock) throw_io_error("open", path, errno);
  return lock;
}

bool try_lock(const FileDescriptor& lock) {
  return ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
}

pid_t locked_by(const fs::path& data) {
  return static_cast<pid_t>(std::atoi(read_file(data / "up.pid", 64).c_str()));
}

FileDescriptor lock_data(const fs::path& data) {
  auto lock = lock_file(data);
  if (!try_lock(lock))
    throw Error(
        ErrorCode::kAlreadyExists, "ALREADY_UP",
        "the service runs on " + data.string() + " already (process " + std::to_string(locked_by(data)) + ")",
        "", "wring down --data " + data.string() + " stops it.");
  const auto pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0) throw_io_error("write", data / "up.pid", errno);
  write_all(lock.get(), std::as_bytes(std::span(pid)), data / "up.pid");
  return lock;
}

void make_log_folder(const fs::path& data) {
  std::error_code failed;
  fs::create_directories(data / "logs", failed);
  if (failed)
    throw Error(ErrorCode::kFailedPrecondition, "BAD_FOLDER",
                "cannot make " + (data / "logs").string() + ": " + failed.message(), "--data",
                "Choose a folder that you may write to.");
}

// So many must have come before anything that asks for their class is sent.
int awaited_workers(const ServiceOptions& options) {
  return options.crew && !options.classes.empty() ? 1 : options.workers;
}

// 0: all cores. Workers that each took all of them would be in each other's way.
int threads_each(const ServiceOptions& options) {
  if (options.threads > 0 || options.workers <= 1) return options.threads;
  return std::max(1, usable_cores() / options.workers);
}

std::vector<Kept> start_workers(const ServiceOptions& options, const Endpoints& endpoints,
                                const fs::path& data) {
  std::vector<Kept> workers;
  for (int i = 0; i < options.workers; ++i) {
    const auto name = "worker" + (options.workers > 1 ? std::to_string(i) : "");
    std::vector<std::string> command{program("wring-worker").string(),
                                     "--server",
                                     endpoints.grpc,
                                     "--cache",
                                     (data / name).string(),
                                     "--threads",
                                     std::to_string(threads_each(options))};
    add_classes(options.classes, command);
    workers.emplace_back("wring-worker", std::move(command), data / "logs" / (name + ".log"));
    workers.back().start();
  }
  if (options.crew) {
    workers.emplace_back("workers", options.crew(config_of(options, endpoints)),
                         data / "logs" / "workers.log");
    workers.back().start();
  }
  return workers;
}

}  // namespace

void add_class_option(CLI::App& verb, std::vector<std::string>& classes) {
  verb.add_option(
          "--class", classes,
          "Kinds of machine that the workers are of, with commas between them; goals on speed name one")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME")
      ->each([](const std::string& name) { check_worker_class(name, "--class"); });
}

void add_classes(const std::vector<std::string>& classes, std::vector<std::string>& command) {
  for (const auto& name : classes) command.insert(command.end(), {"--class", name});
}

bool keep_service_up(const ServiceOptions& options, const std::function<void(const Endpoints&)>& on_ready,
                     const std::function<bool()>& is_over) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, [](int) { ++stop_signals; });
  const auto data = fs::absolute(options.data);
  make_log_folder(data);
  const auto lock = lock_data(data);
  const auto server_arguments = [&](const std::string& grpc, const std::string& http) {
    return std::vector<std::string>{
        program("wring-server").string(), "--data", data.string(), "--grpc", grpc, "--http", http};
  };
  Kept server("wring-server", server_arguments(options.grpc, options.http), data / "logs" / "server.log");
  const auto endpoints = start_server(server, data, options);
  server.set_arguments(
      server_arguments(endpoints.grpc, endpoints.http));  // the same addresses after a restart
  auto workers = start_workers(options, endpoints, data);
  Client client(config_of(options, endpoints));
  if (const int awaited = awaited_workers(options); awaited > 0)
    wait_until("the workers' arrival", {&server, &workers[0]},
               [&] { return static_cast<int>(client.workers().size()) >= awaited; });
  on_ready(endpoints);
  bool over = false;
  while (stop_signals == 0 && !(over = is_over && is_over())) {
    std::this_thread::sleep_for(100ms);
    server.keep();
    for (auto& worker : workers) worker.keep();
  }
  if (options.dismiss_crew) {
    try {
      options.dismiss_crew();
      workers.back().await();
    } catch (const Error& error) {  // they are stopped below, and their jobs go on elsewhere
      std::cerr << "warning: " << error.message() << "\n";
    }
  }
  for (auto& worker : workers) worker.stop();
  server.stop();
  return over;
}

bool stop_service(const fs::path& data) {
  if (!fs::exists(data / "up.pid")) return false;
  const auto lock = lock_file(data);
  if (try_lock(lock)) return false;
  const auto pid = locked_by(data);
  for (const int number : {SIGTERM, SIGTERM, SIGKILL}) {  // the second one takes its patience
    if (pid > 0) ::kill(pid, number);
    for (Stopwatch watch; watch.seconds() < 2 * kStopSeconds; std::this_thread::sleep_for(50ms))
      if (try_lock(lock)) return true;
  }
  throw Error(ErrorCode::kUnavailable, "DOES_NOT_STOP", "process " + std::to_string(pid) + " does not stop");
}

namespace {

void print_up(const CliContext& context, const ServiceOptions& options, const Endpoints& endpoints,
              bool detached) {
  if (context.json)
    return context.print_json(Json{{"grpc", endpoints.grpc},
                                   {"http", endpoints.http},
                                   {"data", options.data},
                                   {"workers", options.workers}});
  std::string text = table({{"server", endpoints.grpc},
                            {"http", endpoints.http.empty() ? "-" : "http://" + endpoints.http},
                            {"workers", std::to_string(options.workers)},
                            {"data", options.data},
                            {"logs", (fs::path(options.data) / "logs").string()}});
  const bool is_default = fs::absolute(options.data) == fs::absolute(default_data_dir());
  if (!is_default) text += "  export WRING_SERVER=" + endpoints.grpc + "\n";
  const std::string down = "wring down" + (is_default ? "" : " --data " + options.data);
  context.print(text + (detached ? "  " + down + " stops it.\n" : "  Ctrl-C stops it.\n"));
}

// Runs keep_service_up in a child of its own session, and waits for its word: endpoints, or what went wrong.
Endpoints detach(const ServiceOptions& options) {
  auto word = Pipe::create();
  make_log_folder(options.data);
  const pid_t child = ::fork();  // before any thread was started
  if (child < 0) throw_io_error("fork for", "wring up", errno);
  if (child == 0) {
    ::setsid();
    const auto log = fs::path(options.data) / "logs" / "up.log";
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644),
              in = ::open("/dev/null", O_RDONLY);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    const auto say = [&](const Json& json) {
      const auto text = json.dump();
      write_all(word.write.get(), std::as_bytes(std::span(text)), "pipe");
      word.write.reset();
    };
    int status = 0;
    try {
      keep_service_up(options, [&](const Endpoints& e) { say({{"grpc", e.grpc}, {"http", e.http}}); });
    } catch (...) {
      const auto error = current_error();
      std::fputs(describe(error).c_str(), stderr);
      if (word.write) say({{"error", error.to_json()}});
      status = exit_status(error.code());
    }
    ::_exit(status);
  }
  word.write.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(word.read.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  const auto json = parse_json(text, "the word of the service's process");
  if (json.contains("error")) throw Error::from_json(json["error"]);
  return {json.value("grpc", ""), json.value("http", "")};
}

}  // namespace

void add_service_verbs(CLI::App& app, CliContext& context) {
  auto* up =
      add_verb(app, "up", "Start a server and a worker on this machine, on loopback", "wring up --detach");
  struct Flags {
    ServiceOptions options;
    bool detach = false;
  };
  const auto flags = std::make_shared<Flags>();
  flags->options.data = default_data_dir().string();
  up->add_option("--data", flags->options.data, "Folder for jobs, artifacts and logs")->capture_default_str();
  up->add_option("--grpc", flags->options.grpc, "Address of the API; port 0: any free one")
      ->capture_default_str();
  up->add_option("--http", flags->options.http, "Address of JSON, /healthz and /metrics")
      ->capture_default_str();
  up->add_option("--workers", flags->options.workers, "How many workers")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  up->add_option("--threads", flags->options.threads,
                 "Of each worker's engine; 0: an equal share of the cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  add_class_option(*up, flags->options.classes);
  up->add_flag("--detach", flags->detach, "Leave them running; wring down stops them");
  up->callback([&context, flags] {
    const auto& options = flags->options;
    if (flags->detach) return print_up(context, options, detach(options), true);
    keep_service_up(options,
                    [&](const Endpoints& endpoints) { print_up(context, options, endpoints, false); });
  });

  auto* down = add_verb(app, "down", "Stop what wring up --detach started", "wring down");
  down->add_option("--data", flags->options.data, "The folder that was given to wring up")
      ->capture_default_str();
  down->callback([&context, flags] {
    const bool stopped = stop_service(flags->options.data);
    if (context.json) return context.print_json(Json{{"stopped", stopped}});
    context.print(stopped ? "stopped\n" : "nothing runs on " + flags->options.data + "\n");
  });
}

}  // namespace wring

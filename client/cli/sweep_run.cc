// A sweep from its file to a folder of results, and nothing left running.
#include "client/cli/sweep_run.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "client/cli/programs.h"
#include "client/cli/service.h"
#include "client/cli/sweep_report.h"
#include "client/cli/sweep_submit.h"
#include "common/address.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "common/slurm.h"
#include "common/text.h"
#include "recipe/sweep.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr double kLookSeconds = 1;
constexpr double kLeastTime = 300, kMostTime = 366 * 86'400.0;  // of an allocation
constexpr const char* kNotice = "120";                          // seconds before the end of the allocation

struct RunFlags {
  SweepFlags sweep;
  std::string file, out, cache, memory, time = "1h", partition, account, gres;
  std::vector<std::string> sbatch, classes;
  int workers = 1, nodes = 1, cpus = 1;
  bool slurm = false, inside = false;  // inside: of the allocation
};

// The same for each run into that folder, so that a run that was broken off goes on.
std::string request_id_of(const fs::path& out) {
  const auto file = out / "request-id";
  if (!fs::exists(file)) write_file_atomic(file, random_uuid());
  return read_file(file, 64);
}

v1::Sweep submit(CliContext& context, const RunFlags& flags) try {
  return submit_sweep(context, flags.sweep, read_sweep(flags.sweep, flags.file));
} catch (const Error& error) {
  if (error.reason() != "REQUEST_ID_REUSED") throw;
  throw Error(ErrorCode::kAlreadyExists, "ANOTHER_SWEEP",
              flags.out +
                  " holds another sweep, or this one with other options or before its file or what it names "
                  "was changed",
              "--out", "Choose another folder.");
}

void write_results(CliContext& context, const fs::path& out, const v1::Sweep& sweep) {
  auto& client = context.client();
  write_file_atomic(out / "sweep.json", to_json(sweep).dump(2) + "\n");
  write_file_atomic(out / "trials.csv", trials_csv(client.trials(sweep.id()), sweep));
  if (sweep.objectives().empty()) return;
  v1::QueryFrontRequest request;
  request.set_id(sweep.id());
  const auto front = client.front(request);
  const std::vector<v1::Trial> trials(front.trials().begin(), front.trials().end());
  write_file_atomic(out / "front.csv", trials_csv(trials, sweep));
  for (const auto& trial : trials) {
    const auto folder = out / "front" / std::to_string(trial.number());
    const auto& artifact = trial.result();
    if (!artifact.empty() && !fs::exists(folder)) {
      fs::create_directories(folder.parent_path());
      client.download_artifact(artifact, folder);
    }
  }
}

// Looks at the sweep now and then, and at its end writes what came of it.
class Following {
 public:
  Following(CliContext& context, fs::path out) : context_(context), out_(std::move(out)) {}

  void begin(v1::Sweep sweep) { sweep_ = std::move(sweep); }
  const v1::Sweep& sweep() const { return sweep_; }

  bool is_over() {
    if (since_.seconds() < kLookSeconds) return false;
    since_ = Stopwatch();
    try {
      sweep_ = context_.client().sweep(sweep_.id());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable) throw;
      return false;  // the server is started again
    }
    const auto ended = sweep_.succeeded() + sweep_.failed() + sweep_.cancelled();
    if (ended != told_ && !context_.quiet)
      std::fprintf(stderr, "sweep %s: %llu of %llu trials have ended\n", sweep_.id().c_str(),
                   static_cast<unsigned long long>(ended),
                   static_cast<unsigned long long>(std::max(sweep_.expected_trials(), sweep_.trials())));
    told_ = ended;
    if (!is_terminal(sweep_.state())) return false;
    write_results(context_, out_, sweep_);
    return true;
  }

 private:
  CliContext& context_;
  const fs::path out_;
  v1::Sweep sweep_;
  Stopwatch since_;
  std::uint64_t told_ = 0;
};

Json init(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {program("wring-server").string(), "init"});
  arguments.emplace_back("--json");
  const auto [status, output] = capture(arguments);
  if (status.code != 0)
    throw Error(ErrorCode::kUnknown, "INIT_FAILED",
                "wring-server init ended with status " + std::to_string(status.code));
  return parse_json(output, "wring-server init");
}

// Of the allocation that this process runs in.
std::string slurm_job() {
  const char* const job = std::getenv("SLURM_JOB_ID");
  if (job) return job;
  throw Error(ErrorCode::kFailedPrecondition, "NO_ALLOCATION", "this is no job of Slurm", "--in-allocation",
              "--slurm submits one.");
}

// A server with TLS for this allocation's nodes, and a worker on each.
ServiceOptions slurm_service(const RunFlags& flags, const fs::path& data) {
  const auto host = host_name();
  const auto made = init({"--data", data.string(), "--host", host});
  const auto worker = init({"worker", "allocation", "--data", data.string()});
  ServiceOptions options;
  options.data = data.string();
  options.grpc = "0.0.0.0:0";
  options.workers = 0;
  options.classes = flags.classes;
  options.connect = [host, made](const Endpoints& endpoints) {
    ClientConfig config;
    config.server = host + endpoints.grpc.substr(endpoints.grpc.rfind(':'));
    config.token = json_at<std::string>(made, "token", "wring-server init");
    config.ca = json_at<std::string>(made, "ca", "wring-server init");
    return config;
  };
  const auto tls = json_at<std::string>(worker, "folder", "wring-server init worker");
  options.crew = [flags, tls](const ClientConfig& config) {
    const auto cpus = std::to_string(flags.cpus);
    std::vector<std::string> command{"/usr/bin/env",
                                     "srun",
                                     "--ntasks-per-node=1",
                                     "--cpus-per-task=" + cpus,
                                     "--kill-on-bad-exit=0",
                                     "--no-kill",
                                     program("wring-worker").string(),
                                     "--server",
                                     config.server,
                                     "--tls",
                                     tls,
                                     "--cache",
                                     flags.cache,
                                     "--cache-below",
                                     "--threads",
                                     cpus};
    add_classes(flags.classes, command);
    if (!flags.memory.empty())
      command.insert(command.end(),
                     {"--memory", std::to_string(parse_bytes(flags.memory, "--worker-memory") / 10 * 9)});
    return command;
  };
  // A signal for srun would end its tasks at once.
  options.dismiss_crew = [job = slurm_job()] { Slurm().call({"scancel", "--signal=TERM", job}); };
  return options;
}

ServiceOptions local_service(const RunFlags& flags, const fs::path& data) {
  ServiceOptions options;
  options.data = data.string();
  options.workers = flags.workers;
  options.classes = flags.classes;
  return options;
}

void connect(CliContext& context, const ServiceOptions& options, const Endpoints& endpoints) {
  context.flags = {endpoints.grpc, "", ""};
  if (!options.connect) return;
  const auto config = options.connect(endpoints);
  context.flags = {config.server, config.token, config.ca};
}

// Not of one that its user cancels, which is told to end as well: requeuing would bring it back.
bool still_runs(const std::string& job) {
  return Slurm().call({"squeue", "--noheader", "--jobs=" + job, "--format=%T"}).starts_with("RUNNING");
}

// The allocation is about to end, and the sweep goes on in the next one.
[[noreturn]] void break_off(const RunFlags& flags, const v1::Sweep& sweep) {
  if (const auto job = flags.inside ? slurm_job() : std::string(); !job.empty() && still_runs(job))
    Slurm().call({"scontrol", "requeue", job});
  throw Error(ErrorCode::kCancelled, "INTERRUPTED", "sweep " + sweep.id() + " is not over", "",
              "The same command with the same --out goes on with it.");
}

void check_batch_job(const RunFlags& flags) {
  const double seconds = parse_seconds(flags.time, "--time");
  if (!(seconds >= kLeastTime && seconds <= kMostTime))
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                "'" + flags.time.substr(0, 80) + "' is no time of a batch job", "--time",
                "5m to 366d; what is not done by then goes on in the next one.");
  if (!flags.memory.empty()) parse_bytes(flags.memory, "--worker-memory");
  for (const auto& argument : flags.sbatch) {
    const auto name = argument.substr(0, argument.find('='));
    if (name.size() > 2 && name.starts_with("--") && !std::string_view("--array").starts_with(name)) continue;
    throw Error(ErrorCode::kInvalidArgument, "BAD_ARGUMENT",
                "'" + argument.substr(0, 80) + "' may not stand here", "--sbatch",
                "One option of sbatch, --NAME=VALUE; the run is one batch job, no array.");
  }
}

// What can be refused before a server or a batch job is started.
void check(const RunFlags& flags) {
  if (flags.slurm) check_batch_job(flags);
  const auto spec = read_sweep(flags.sweep, flags.file);
  const Sweep sweep = parse_sweep(spec.sweep(), spec.recipe());
  for (const auto& text : sweep.models()) names_path(text, "model");
  for (const auto& text : sweep.datasets()) names_path(text, "data");
  const auto& named = sweep.worker_class;
  if (named.empty() || std::find(flags.classes.begin(), flags.classes.end(), named) != flags.classes.end())
    return;
  throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_CLASS",
              "no worker of this run is of class '" + named + "'", "goal",
              "--class " + named + " says that its workers are.");
}

void run_here(CliContext& context, RunFlags flags) {
  const fs::path out = fs::absolute(flags.out);
  fs::create_directories(out);
  flags.sweep.request_id = request_id_of(out);
  const auto data = out / "data";
  const auto options = flags.inside ? slurm_service(flags, data) : local_service(flags, data);
  Following following(context, out);
  const bool over = keep_service_up(
      options,
      [&](const Endpoints& endpoints) {
        connect(context, options, endpoints);
        following.begin(submit(context, flags));
      },
      [&] { return following.is_over(); });
  if (!over) break_off(flags, following.sweep());
  const auto& sweep = following.sweep();
  if (sweep.state() != v1::SWEEP_STATE_SUCCEEDED) context.status = exit_status(ErrorCode::kUnknown);
  if (context.json) return context.print_json(to_json(sweep));
  context.print(describe_sweep(sweep) + "all of it is in " + out.string() + "\n");
}

std::vector<std::string> sbatch_arguments(const RunFlags& flags, const fs::path& out) {
  std::vector<std::string> arguments{"--job-name=wring-sweep",
                                     "--nodes=" + std::to_string(flags.nodes),
                                     "--ntasks-per-node=1",
                                     "--cpus-per-task=" + std::to_string(flags.cpus),
                                     "--requeue",
                                     "--open-mode=append",
                                     "--signal=B:TERM@" + std::string(kNotice),
                                     "--chdir=" + fs::current_path().string(),
                                     "--output=" + (out / "slurm.log").string()};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.push_back(option + value);
  };
  add("--time=", std::to_string(static_cast<int>(std::ceil(parse_seconds(flags.time, "--time") / 60))));
  if (!flags.memory.empty())
    add("--mem=", std::to_string((parse_bytes(flags.memory, "--worker-memory") >> 20) + 1) + "M");
  add("--partition=", flags.partition);
  add("--account=", flags.account);
  add("--gres=", flags.gres);
  arguments.insert(arguments.end(), flags.sbatch.begin(), flags.sbatch.end());
  return arguments;
}

// Fields of a refusal are named as the provisioner's file has them.
std::string option_of(const std::string& field) {
  constexpr std::array<std::pair<const char*, const char*>, 7> kOptions{{{"partition", "--partition"},
                                                                         {"account", "--account"},
                                                                         {"gres", "--gres"},
                                                                         {"cpus", "--cpus"},
                                                                         {"time_limit", "--time"},
                                                                         {"memory", "--worker-memory"},
                                                                         {"max", "--nodes"}}};
  for (const auto& [name, option] : kOptions)
    if (field == name) return option;
  return field.empty() || field.starts_with("--") ? field : "--sbatch";
}

std::string submit_to_slurm(const RunFlags& flags, const fs::path& out) {
  try {
    return Slurm().submit(sbatch_arguments(flags, out), out / "run.sh");
  } catch (const Error& error) {
    const bool too_many = error.field() == "max";
    throw Error(
        error.code(), error.reason(), error.message(), option_of(error.field()),
        too_many ? "Ask for fewer nodes, or for a higher limit of the account or QOS." : error.hint());
  }
}

void run_in_slurm(CliContext& context, const RunFlags& flags) {
  const fs::path out = fs::absolute(flags.out);
  fs::create_directories(out);
  std::string script =
      "#!/bin/sh\n# A sweep with a service of its own; written by wring sweep run --slurm.\nexec " +
      shell_word(program("wring").string());
  for (const auto& word : context.arguments)
    if (word != "--slurm") script += " " + shell_word(word);
  write_file_atomic(out / "run.sh", script + " --in-allocation\n");
  const auto job = submit_to_slurm(flags, out);
  if (context.json) return context.print_json(Json{{"slurm_job", job}, {"out", out.string()}});
  context.print("Slurm job " + job + "\n  its log: " + (out / "slurm.log").string() + "\n");
}

void declare(CLI::App* verb, RunFlags& flags) {
  verb->add_option("SWEEP", flags.file, "YAML file (docs/sweeps.md); paths in it are seen from here")
      ->required()
      ->check(CLI::ExistingFile);
  verb->add_option("--out", flags.out,
                   "Folder of the results; with an unfinished run of the sweep in it, that goes on")
      ->required();
  verb->add_option("--workers", flags.workers, "Workers on this machine")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  add_trial_flags(*verb, flags.sweep);
  add_class_option(*verb, flags.classes);
  verb->add_flag("--slurm", flags.slurm,
                 "Run it as a batch job: a server on the first node, a worker on each");
  verb->add_option("--nodes", flags.nodes, "Of the batch job")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  verb->add_option("--cpus", flags.cpus, "Of a node's worker")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--worker-memory", flags.memory, "Of a node's worker with its engine: 16GB");
  verb->add_option("--time", flags.time,
                   "Of the batch job: 90m, 8h; what is not done then goes on in the next one")
      ->capture_default_str();
  verb->add_option("--partition", flags.partition, "As in sbatch");
  verb->add_option("--account", flags.account, "As in sbatch");
  verb->add_option("--gres", flags.gres, "As in sbatch, for instance gpu:1");
  verb->add_option("--sbatch", flags.sbatch,
                   "One more option of sbatch, --NAME=VALUE; may be given more than once")
      ->allow_extra_args(false);
  verb->add_option("--cache", flags.cache, "Folder on the nodes' own disks")->capture_default_str();
  verb->add_flag("--in-allocation", flags.inside)->group("");
}

}  // namespace

void add_sweep_run(CLI::App& sweep, CliContext& context) {
  auto* verb =
      add_verb(sweep, "run", "Run a sweep with a service of its own, and leave its results in a folder",
               "wring sweep run sweep.yaml --out results --slurm --nodes 4 --cpus 16 --time 8h");
  const auto flags = std::make_shared<RunFlags>();
  flags->cache = "/var/tmp/wring-" + std::to_string(::geteuid());
  declare(verb, *flags);
  verb->callback([&context, flags] {
    check(*flags);
    flags->slurm && !flags->inside ? run_in_slurm(context, *flags) : run_here(context, *flags);
  });
}

}  // namespace wring

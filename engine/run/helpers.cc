// Sockets and children, and what they are told of a stage.
#include "engine/run/helpers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <thread>
#include <utility>

#include "common/logger.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/model/load.h"
#include "engine/run/failure.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "engine/run/tree_json.h"

namespace wring {
namespace {

constexpr int kFirstLink = 3;     // descriptor of a helper's socket to process 0
constexpr int kExitChecks = 200;  // that a child whose socket is closed is asked for its end
constexpr auto kCheckEvery = std::chrono::milliseconds(10);

Json names_of(const std::set<Statistic>& statistics) {
  Json names = Json::array();
  for (const auto statistic : statistics) names.push_back(name_of(statistic));
  return names;
}

std::set<Statistic> statistics_named(const Json& names) {
  std::set<Statistic> statistics;
  for (const auto& name : names) statistics.insert(statistic_named(name.get<std::string>()));
  return statistics;
}

Parcel to_parcel(const SharedStage& stage) {
  Parcel parcel;
  Json targets = Json::array();
  for (const Layer* layer : stage.targets) targets.push_back(layer->name());
  const Calibration& calibration = stage.calibration;
  parcel.json = {{"model", tree_to_json(stage.model)},
                 {"method", stage.method},
                 {"gathered", names_of(stage.gathered)},
                 {"params", stage.params},
                 {"field", stage.field},
                 {"targets", targets},
                 {"propagate", static_cast<int>(calibration.propagate)},
                 {"observe", static_cast<int>(calibration.observe)},
                 {"forward", static_cast<int>(calibration.forward)},
                 {"snapshot", stage.snapshot.string()},
                 {"seed", stage.seed}};
  if (stage.reference) parcel.json["reference"] = tree_to_json(*stage.reference);
  if (stage.statistics) parcel.json["statistics"] = tree_to_json(*stage.statistics);
  if (calibration.ids.defined()) parcel.tensors.push_back({"ids", calibration.ids});
  if (calibration.mask.defined()) parcel.tensors.push_back({"mask", calibration.mask});
  return parcel;
}

// Runs the stage as the first process does, for its share; what comes out is the first one's to keep.
void join(const Parcel& parcel, Team& team, at::Device device) {
  const Json& json = parcel.json;
  const auto model = load_model(tree_from_json(json.at("model")), device);
  std::unique_ptr<Model> reference;
  if (json.contains("reference")) reference = load_model(tree_from_json(json.at("reference")), device);
  std::set<const Layer*> targets;
  for (const auto& name : json.at("targets")) targets.insert(model->find_layer(name.get<std::string>()));
  const auto gathered = statistics_named(json.at("gathered"));
  const auto name = json.at("method").get<std::string>();
  const auto method = name.empty() ? gather_statistics(gathered)
                                   : make_method(name, Params(json.at("params"), json.at("field")));
  Calibration calibration;
  for (const auto& [suffix, tensor] : parcel.tensors)
    (suffix == "ids" ? calibration.ids : calibration.mask) = tensor;
  calibration.propagate = static_cast<Propagate>(json.at("propagate").get<int>());
  calibration.observe = static_cast<at::ScalarType>(json.at("observe").get<int>());
  calibration.forward = static_cast<at::ScalarType>(json.at("forward").get<int>());
  calibration.processes = &team;
  if (json.contains("statistics"))
    calibration.stored =
        std::make_shared<StoredStatistics>(tree_from_json(json.at("statistics")), gathered, device);
  NoProgress quiet;
  Snapshot snapshot = Snapshot::of_another(json.at("snapshot").get<std::string>());
  method->run({*model, targets, calibration, quiet, snapshot, reference.get(), json.at("seed")});
}

// cuda:1 for the second process of a job on cuda:0.
std::string device_of(const std::string& device, int rank) {
  const auto colon = device.find(':');
  if (!device.starts_with("cuda")) return device;
  const int first = colon == std::string::npos ? 0 : std::stoi(device.substr(colon + 1));
  return "cuda:" + std::to_string(first + rank);
}

// links[i][j]: the end that process i holds of its socket to process j.
std::vector<std::vector<FileDescriptor>> connect_all(std::size_t processes) {
  std::vector<std::vector<FileDescriptor>> links(processes);
  for (auto& row : links) row.resize(processes);
  for (std::size_t i = 0; i < processes; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        throw_io_error("make", "a pair of sockets", errno);
      links[i][j] = FileDescriptor(ends[0]);
      links[j][i] = FileDescriptor(ends[1]);
    }
  }
  return links;
}

}  // namespace

bool can_split(const Method& method) {
  return !method.needs().empty() || method.training();
}

Helpers::Helpers(int processes, int threads, const std::string& device) {
  limit_spinning_of_children();
  auto links = connect_all(static_cast<std::size_t>(processes));
  for (int rank = 1; rank < processes; ++rank) {
    SubprocessOptions options;
    options.argv = {"/proc/self/exe", "join", std::to_string(rank), std::to_string(processes)};
    options.own_process_group = false;  // who ends the job's group ends them
    options.descriptors = {{STDERR_FILENO, STDOUT_FILENO}, {STDERR_FILENO, STDERR_FILENO}};
    const auto& own = links[static_cast<std::size_t>(rank)];
    for (int other = 0; other < processes; ++other)
      if (other != rank)
        options.descriptors.emplace_back(own[static_cast<std::size_t>(other)].get(), kFirstLink + other);
    children_.emplace_back(options);
  }
  team_ = std::make_unique<Team>(0, std::move(links.front()), [this](int rank) { return why_lost(rank); });
  for (int rank = 1; rank < processes; ++rank)
    team_->send(rank, {{{"threads", threads}, {"device", device_of(device, rank)}}, {}});
}

void Helpers::begin(const SharedStage& stage) {
  team_->share(0, to_parcel(stage));
}

// One that was killed is the cause; others end because they miss it.
Error Helpers::why_lost(int rank) {
  for (int check = 0; check < kExitChecks; ++check) {
    for (std::size_t i = 0; i < children_.size(); ++i) {
      const auto status = children_[i].poll();
      if (status && status->signal != 0)
        return Error(ErrorCode::kInternal, "ENGINE_CRASH",
                     "process " + std::to_string(i + 2) + " of the job's " + std::to_string(team_->size()) +
                         " was ended by signal " + std::to_string(status->signal) + " (" +
                         ::strsignal(status->signal) + ")");
    }
    if (const auto status = children_[static_cast<std::size_t>(rank - 1)].poll())
      return Error(ErrorCode::kInternal, "ENGINE_CRASH",
                   "process " + std::to_string(rank + 1) + " of the job's " + std::to_string(team_->size()) +
                       " exited with status " + std::to_string(status->code) + " and gave no reason");
    std::this_thread::sleep_for(kCheckEvery);
  }
  return Error(ErrorCode::kInternal, "ENGINE_CRASH",
               "process " + std::to_string(rank + 1) + " of the job's " + std::to_string(team_->size()) +
                   " no longer answers");
}

int run_helper(int rank, int size) {
  ::prctl(PR_SET_NAME, "wring-engine");  // not "exe"
  for (const int number : {SIGTERM, SIGINT})
    ::signal(number, SIG_IGN);  // the first process decides, and ends this
  std::vector<FileDescriptor> links(static_cast<std::size_t>(size));
  for (int other = 0; other < size; ++other)
    if (other != rank) links[static_cast<std::size_t>(other)] = FileDescriptor(kFirstLink + other);
  Team team(rank, std::move(links));
  try {
    const Json settings = team.receive(0).json;
    set_threads(settings.at("threads"));
    const at::Device device = parse_device(settings.at("device"));
    for (;;) {
      join(team.receive(0), team, device);
      release_free_memory();
    }
  } catch (...) {
    const Error error = current_engine_error();
    team.fail(error);
    return exit_status(error.code());
  }
}

}  // namespace wring

// Reading and shortening Slurm's queue.
#include "server/provision/slurm_queue.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::size_t kCancelledAtOnce = 500;
constexpr const char* kKeep = "+keep";

BatchState to_state(const std::string& name) {
  static const std::vector<std::string> kWaits{"PENDING",     "REQUEUED",      "REQUEUE_HOLD",
                                               "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"};
  static const std::vector<std::string> kRuns{"RUNNING", "CONFIGURING", "SUSPENDED",
                                              "STOPPED", "SIGNALING",   "RESIZING"};
  const auto among = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return among(kWaits) ? BatchState::kPending : among(kRuns) ? BatchState::kRunning : BatchState::kEnding;
}

}  // namespace

std::string batch_comment(const std::string& submit, bool keep) {
  return submit + (keep ? kKeep : "");
}

SlurmJob parse_slurm_job(const std::string& line) {
  std::array<std::string, 5> fields;
  std::istringstream text(line);
  for (std::size_t i = 0; i + 1 < fields.size(); ++i) std::getline(text, fields[i], '|');
  std::getline(text, fields[4]);
  SlurmJob job;
  job.job.id = fields[0];
  job.job.state = to_state(fields[1]);
  job.job.keep = fields[2].ends_with(kKeep);
  job.job.submit = fields[2].substr(0, fields[2].find('+'));
  job.node = fields[3];
  job.reason = fields[4];
  return job;
}

std::vector<SlurmJob> slurm_jobs(const Slurm& slurm, const std::string& name) {
  std::istringstream text(slurm.call({"squeue", "--noheader", "--array", "--name=" + name,
                                      "--user=" + std::to_string(::geteuid()), "--format=%i|%T|%k|%N|%r"}));
  std::vector<SlurmJob> jobs;
  for (std::string line; std::getline(text, line);)
    if (!line.empty()) jobs.push_back(parse_slurm_job(line));
  return jobs;
}

void cancel_slurm_jobs(const Slurm& slurm, const std::vector<std::string>& ids) {
  for (std::size_t i = 0; i < ids.size(); i += kCancelledAtOnce) {
    std::vector<std::string> command{"scancel", "--quiet"};
    const auto end = std::min(ids.size(), i + kCancelledAtOnce);
    command.insert(command.end(), ids.begin() + static_cast<std::ptrdiff_t>(i),
                   ids.begin() + static_cast<std::ptrdiff_t>(end));
    slurm.call(command);
  }
}

std::size_t max_array_size(const Slurm& slurm) {
  std::istringstream text(slurm.call({"scontrol", "show", "config"}));
  for (std::string key, equals, value, rest; text >> key; std::getline(text, rest))
    if (key == "MaxArraySize" && text >> equals >> value) return std::strtoull(value.c_str(), nullptr, 10);
  throw Error(ErrorCode::kUnknown, "SLURM_FAILED", "scontrol show config says no MaxArraySize");
}

}  // namespace wring

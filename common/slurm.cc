// Slurm's commands and their words.
#include "common/slurm.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "common/capture.h"
#include "common/text.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxOutput = 32u << 20;

struct Refusal {
  const char* words;  // in what the command says
  ErrorCode code;
  const char *reason, *field, *hint;
};

constexpr auto kInvalid = ErrorCode::kInvalidArgument;
constexpr std::array kRefusals{
    Refusal{"nvalid partition", kInvalid, "SLURM_REFUSED", "partition", "sinfo lists the partitions."},
    Refusal{"artition not available", ErrorCode::kUnavailable, "SLURM_CLOSED", "partition",
            "sinfo --format='%R %a' says which partitions are up."},
    Refusal{"nvalid account", kInvalid, "SLURM_REFUSED", "account",
            "sacctmgr show associations user=$USER format=account,partition lists yours."},
    Refusal{"nvalid qos", kInvalid, "SLURM_REFUSED", "qos", "sacctmgr show qos lists them."},
    Refusal{"nvalid generic resource", kInvalid, "SLURM_REFUSED", "gres",
            "sinfo --format='%R %G' lists what each partition has."},
    Refusal{"nvalid Trackable RESource", kInvalid, "SLURM_REFUSED", "gres",
            "sinfo --format='%R %G' lists what each partition has."},
    Refusal{"equested time limit", kInvalid, "SLURM_REFUSED", "time_limit",
            "sinfo --format='%R %l' lists the longest time of each partition."},
    Refusal{"nvalid feature", kInvalid, "SLURM_REFUSED", "sbatch",
            "sinfo --format='%R %f' lists the features."},
    Refusal{"nvalid reservation", kInvalid, "SLURM_REFUSED", "sbatch",
            "scontrol show reservation lists them."},
    Refusal{"equested reservation is invalid", kInvalid, "SLURM_REFUSED", "sbatch",
            "scontrol show reservation lists them."},
    Refusal{"nvalid node name", kInvalid, "SLURM_REFUSED", "sbatch", "sinfo --Node lists the nodes."},
    Refusal{"emory specification", kInvalid, "SLURM_REFUSED", "memory",
            "sinfo --format='%R %m' lists the memory of nodes in MiB."},
    Refusal{"node configuration is not available", kInvalid, "SLURM_REFUSED", "cpus",
            "No node of the partition has cpus, memory and gres as asked for: sinfo --format='%R %c %m %G'."},
    Refusal{"CPU count per node", kInvalid, "SLURM_REFUSED", "cpus",
            "sinfo --format='%R %c' lists the CPUs of nodes."},
    Refusal{"unrecognized option", kInvalid, "SLURM_REFUSED", "sbatch",
            "Leave out what this release does not know."},
    Refusal{"nvalid job array", kInvalid, "SLURM_REFUSED", "max",
            "MaxArraySize has changed: restart the server."},
    Refusal{"violates accounting/QOS policy", ErrorCode::kResourceExhausted, "SLURM_LIMIT", "max",
            "Lower max, or ask for a higher limit of the account or QOS."},
    Refusal{"JobLimit", ErrorCode::kResourceExhausted, "SLURM_LIMIT", "max",
            "Lower max, or ask for a higher limit of the account or QOS."},
    Refusal{"connect failure", ErrorCode::kUnavailable, "SLURM_AWAY", "",
            "Is slurmctld up? scontrol ping says."},
    Refusal{"onnection refused", ErrorCode::kUnavailable, "SLURM_AWAY", "",
            "Is slurmctld up? scontrol ping says."},
    Refusal{"configuration source", ErrorCode::kUnavailable, "SLURM_AWAY", "",
            "This machine has no slurm.conf; SLURM_CONF may say where it is."},
    Refusal{"resolve", ErrorCode::kUnavailable, "SLURM_AWAY", "",
            "This machine has no slurm.conf that names the controller; SLURM_CONF may say where it is."},
    Refusal{"tandby", ErrorCode::kUnavailable, "SLURM_AWAY", "",
            "No controller is in charge; scontrol ping says."},
    Refusal{"unge", ErrorCode::kUnavailable, "SLURM_AWAY", "", "Is munged up, with the cluster's key?"},
    Refusal{"timed out", ErrorCode::kUnavailable, "SLURM_NO_ANSWER", "", "Is slurmctld busy? sdiag says."},
    Refusal{"Unable to contact", ErrorCode::kUnavailable, "SLURM_NO_ANSWER", "", "scontrol ping says more."},
    Refusal{"Zero Bytes", ErrorCode::kUnavailable, "SLURM_NO_ANSWER", "", "scontrol ping says more."},
};

// The line around `at`, without what stands before the words themselves: "sbatch: error: Batch job submission
// failed: WORDS".
std::string words_at(const std::string& said, std::size_t at) {
  const auto before = said.rfind('\n', at);
  const auto start = before == std::string::npos ? 0 : before + 1;
  std::string line = said.substr(start, std::min(said.find('\n', at), said.size()) - start);
  for (const std::string head : {"error: ", "failed: ", "failure: "})
    if (const auto found = line.find(head); found != std::string::npos) line.erase(0, found + head.size());
  return line.substr(0, 300);
}

std::string last_words(const std::string& said) {
  const auto end = said.find_last_not_of(" \n");
  return end == std::string::npos ? "it said nothing" : words_at(said, end);
}

std::string variable(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value ? value : fallback;
}

}  // namespace

Error slurm_error(const std::string& command, const std::string& said) {
  for (const auto& refusal : kRefusals)
    if (const auto at = said.find(refusal.words); at != std::string::npos)
      return Error(refusal.code, refusal.reason, "Slurm says: " + words_at(said, at), refusal.field,
                   refusal.hint);
  return Error(ErrorCode::kUnknown, "SLURM_FAILED", command + " failed: " + last_words(said));
}

std::string Slurm::call(const std::vector<std::string>& command) const {
  SubprocessOptions program;
  program.argv = {"/usr/bin/env"};  // finds it in PATH
  program.argv.insert(program.argv.end(), command.begin(), command.end());
  program.inherit_environment = false;
  program.environment = {{"PATH", variable("PATH", "/usr/bin:/bin")}, {"HOME", variable("HOME", "/")}};
  if (std::getenv("SLURM_CONF")) program.environment.emplace_back("SLURM_CONF", variable("SLURM_CONF", ""));
  CaptureOptions options;
  options.standard_error = StandardError::kKeep;
  options.seconds = seconds_;
  options.max_bytes = kMaxOutput;
  auto run = run_captured(std::move(program), options);
  if (run.timed_out)
    throw Error(ErrorCode::kUnavailable, "SLURM_NO_ANSWER",
                command[0] + " did not end within " + human_duration(seconds_), "",
                "Is slurmctld busy? sdiag says.");
  if (run.status.code == 127)
    throw Error(ErrorCode::kFailedPrecondition, "NO_SLURM", "there is no " + command[0] + " in PATH", "",
                "Install Slurm's commands (Debian: slurm-client).");
  if (run.status.code != 0) throw slurm_error(command[0], run.error);
  if (run.cut)
    throw Error(ErrorCode::kUnknown, "SLURM_FAILED",
                command[0] + " says more than " + human_bytes(kMaxOutput));
  return run.output;
}

// What the cluster has, for a hint; empty where it does not say.
std::string Slurm::known(const std::string& what) const {
  try {
    auto text = call({"sinfo", "--noheader", "--format=" + what});
    std::string list;
    for (const char c : text.erase(text.find_last_not_of(" \n") + 1))
      list += c == '\n' ? ", " : std::string(1, c);
    return list.empty() ? "" : " This cluster has: " + list.substr(0, 300) + ".";
  } catch (const Error&) {
    return "";
  }
}

std::string Slurm::sbatch(const std::vector<std::string>& arguments, const fs::path& script) const {
  std::vector<std::string> command{"sbatch", "--parsable"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.push_back(script.string());
  try {
    return call(command);
  } catch (const Error& e) {
    const auto more = e.field() == "partition" ? known("%R") : e.field() == "gres" ? known("%G") : "";
    throw Error(e.code(), e.reason(), e.message(), e.field(), e.hint() + more);
  }
}

std::string Slurm::submit(const std::vector<std::string>& arguments, const fs::path& script) const {
  const auto said = sbatch(arguments, script);  // "123", or "123;cluster"
  const auto id = said.substr(0, said.find_first_of(";\n"));
  if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos)
    throw Error(ErrorCode::kUnavailable, "SLURM_NO_ANSWER",
                "sbatch says '" + said.substr(0, 100) + "', no job's id");
  return id;
}

void Slurm::test_submit(const std::vector<std::string>& arguments, const fs::path& script) const {
  auto with_test = arguments;
  with_test.emplace_back("--test-only");
  sbatch(with_test, script);
}

std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

}  // namespace wring

// Slurm's commands, and what they say as errors.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/error.h"

namespace wring {

// Commands get their arguments as they are, without a shell, and of the environment PATH, HOME and SLURM_CONF
// alone. Each is killed after `seconds`. Any thread may call.
//
// Errors: kFailedPrecondition "NO_SLURM" (not installed); kUnavailable "SLURM_AWAY" (the controller was not
// reached), "SLURM_CLOSED" (the partition takes no jobs now) and "SLURM_NO_ANSWER" (what was asked for may
// have been done); kInvalidArgument "SLURM_REFUSED", whose field is what to change: partition, account, qos,
// gres, cpus, memory, time_limit, sbatch (another argument), max; kResourceExhausted "SLURM_LIMIT"; kUnknown
// "SLURM_FAILED".
class Slurm {
 public:
  explicit Slurm(double seconds = 30) : seconds_(seconds) {}

  // sbatch. Returns the job's id, of an array that of the whole.
  std::string submit(const std::vector<std::string>& arguments, const std::filesystem::path& script) const;
  // Throws what submit() would.
  void test_submit(const std::vector<std::string>& arguments, const std::filesystem::path& script) const;
  // Any command; returns what it says.
  std::string call(const std::vector<std::string>& command) const;

 private:
  std::string sbatch(const std::vector<std::string>& arguments, const std::filesystem::path& script) const;
  std::string known(const std::string& what) const;

  const double seconds_;
};

// What a command that failed said, as an Error.
Error slurm_error(const std::string& command, const std::string& said);

// As one word of a batch script's shell.
std::string shell_word(const std::string& text);

}  // namespace wring

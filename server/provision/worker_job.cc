// From the provisioner's file to sbatch.
#include "server/provision/worker_job.h"

#include <cmath>

#include "common/slurm.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "recipe/spec.h"
#include "server/provision/slurm_queue.h"

namespace wring {
namespace {

// The rest is the agent's own and the page cache's.
std::uint64_t engine_memory(const ProvisionConfig& config) {
  return config.memory_bytes / 10 * 9;
}

// How many GPUs "gpu", "gpu:2", "gpu:a100:2(S:0)" are among other resources.
std::uint32_t gpus_of(const std::string& gres) {
  std::uint32_t gpus = 0;
  for (std::size_t start = 0; start < gres.size();) {
    const auto end = std::min(gres.find(',', start), gres.size());
    const auto one = gres.substr(start, end - start);
    start = end + 1;
    if (one != "gpu" && !one.starts_with("gpu:") && !one.starts_with("gres/gpu")) continue;
    const auto whole = one.substr(0, one.find('('));
    const auto last = whole.substr(whole.find_last_of(":=") + 1);
    const bool is_count = last.find_first_not_of("0123456789") == std::string::npos;  // not a type: "1080ti"
    gpus += is_count ? static_cast<std::uint32_t>(std::strtoul(last.c_str(), nullptr, 10)) : 1;
  }
  return gpus;
}

std::vector<std::string> worker_command(const ProvisionConfig& config, const std::string& server, bool keep) {
  auto command = config.worker;
  if (command.empty()) command = {sibling_program("wring-worker").string()};
  const auto add = [&](const char* flag, const std::string& value) {
    command.insert(command.end(), {flag, value});
  };
  add("--server", server);
  add("--cache", config.cache.string());
  command.emplace_back("--cache-below");
  add("--cache-bytes", std::to_string(config.cache_bytes));
  add("--threads", std::to_string(config.cpus));
  add("--memory", std::to_string(engine_memory(config)));
  if (!keep) add("--exit-when-idle", std::to_string(config.pool.idle_ms / 1000));
  if (!config.classes.empty()) add("--class", join(config.classes, ","));
  if (!config.tls.empty()) add("--tls", config.tls.string());
  if (!config.token_file.empty()) add("--token-file", config.token_file.string());
  return command;
}

}  // namespace

std::vector<std::string> sbatch_arguments(const ProvisionConfig& config, const std::string& name,
                                          const std::string& submit, const PoolPlan::Submit& what) {
  std::vector<std::string> arguments{"--job-name=" + name, "--comment=" + batch_comment(submit, what.keep),
                                     "--nodes=1",          "--ntasks=1",
                                     "--requeue",          "--open-mode=append",
                                     "--chdir=/"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.push_back(option + value);
  };
  const auto minutes = static_cast<std::uint64_t>(std::ceil(config.time_limit_seconds / 60));
  const auto mebibytes = (config.memory_bytes + (1u << 20) - 1) >> 20;
  add("--signal=B:TERM@", std::to_string(static_cast<std::uint64_t>(config.notice_seconds)));
  add("--time=", std::to_string(minutes));
  add("--cpus-per-task=", std::to_string(config.cpus));
  add("--mem=", std::to_string(mebibytes) + "M");
  add("--partition=", config.partition);
  add("--account=", config.account);
  add("--qos=", config.qos);
  add("--gres=", config.gres);
  add("--output=", config.logs.empty() ? "/dev/null" : (config.logs / "worker-%j.log").string());
  if (what.count > 1) add("--array=0-", std::to_string(what.count - 1));
  arguments.insert(arguments.end(), config.sbatch.begin(), config.sbatch.end());
  return arguments;
}

std::string worker_script(const ProvisionConfig& config, const std::string& server, bool keep) {
  std::string script =
      "#!/bin/sh\n# One worker of a wring-server's queue; that server writes this file.\nexec";
  for (const auto& word : worker_command(config, server, keep)) script += " " + shell_word(word);
  return script + "\n";
}

WorkerRecord expected_worker(const ProvisionConfig& config) {
  WorkerRecord worker;
  worker.devices["cpu"] = 1;
  if (const auto gpus = gpus_of(config.gres)) worker.devices["cuda"] = gpus;
  worker.memory_bytes = engine_memory(config);
  worker.classes.insert(config.classes.begin(), config.classes.end());
  const auto take = [&](const auto& specs) {
    for (const auto* spec : specs) worker.methods.insert(spec->name + "@" + std::to_string(spec->version));
  };
  take(Catalogue::embedded().methods());
  take(Catalogue::embedded().suites());
  return worker;
}

}  // namespace wring

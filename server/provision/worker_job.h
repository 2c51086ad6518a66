// A worker as a batch job: what sbatch is told, and the script that it runs.
#pragma once

#include <string>
#include <vector>

#include "server/provision/config.h"
#include "server/scheduler/records.h"

namespace wring {

// Of sbatch, for `count` workers of one submit.
std::vector<std::string> sbatch_arguments(const ProvisionConfig& config, const std::string& name,
                                          const std::string& submit, const PoolPlan::Submit& what);

// The batch script. It becomes the worker, so that signals for the batch shell reach the worker. `server`:
// HOST:PORT; `keep`: the worker stays when it has nothing to do. Secrets are in it by their paths alone.
std::string worker_script(const ProvisionConfig& config, const std::string& server, bool keep);

// Such a worker as the scheduler will know it, of this server's release.
WorkerRecord expected_worker(const ProvisionConfig& config);

}  // namespace wring

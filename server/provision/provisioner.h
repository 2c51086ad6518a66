// Keeps as many workers in Slurm as the queue needs.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/slurm.h"
#include "proto/rpc/backoff.h"
#include "server/api/coordinator.h"
#include "server/http/metrics.h"
#include "server/provision/config.h"
#include "server/provision/slurm_queue.h"
#include "server/provision/worker_job.h"

namespace wring {

// Looks at the coordinator's queue and at Slurm's on a thread of its own while it lives. What is in Slurm is
// the only record of it: batch jobs carry a name that belongs to the data folder, so that a server that comes
// back finds its own. Errors are logged, counted, and shown by the jobs that wait.
//
// DATA/provision: id (of the name), worker.sh and keep.sh (the batch scripts), submitting.json (a submit
// whose answer is not known).
class Provisioner {
 public:
  // `address`: the server's own, for workers where the configuration has none. Throws what Slurm::test_submit
  // says of the configuration, and NO_SLURM; a Slurm that does not answer is waited for.
  Provisioner(ProvisionConfig config, const std::string& address, const std::filesystem::path& data,
              Coordinator& coordinator, const Clock& clock, Metrics& metrics);
  ~Provisioner();
  Provisioner(const Provisioner&) = delete;
  Provisioner& operator=(const Provisioner&) = delete;

  // "ok", or the reason of the error that is not over.
  std::string health() const;

 private:
  void run(const std::stop_token& stop);
  void look();
  bool may_rest(const PoolDemand& demand) const;
  void cancel(const std::vector<std::string>& ids);
  bool submit(const PoolPlan::Submit& what);
  void write_scripts(const std::string& address) const;
  void take_up_doubt();
  void settle_doubt() const;
  void describe();
  void trouble(const Error& error);

  const ProvisionConfig config_;
  const std::filesystem::path folder_;
  Coordinator& coordinator_;
  const Clock& clock_;
  Metrics& metrics_;
  const std::string name_;  // of all batch jobs
  const Slurm slurm_;
  Pool pool_;
  Backoff backoff_;
  std::vector<SlurmJob> jobs_;  // as last seen
  std::optional<TimeMs> looked_;
  std::size_t max_array_ = 0;  // 0: not known

  mutable std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::optional<Error> error_;  // that is not over
  std::jthread thread_;
};

}  // namespace wring

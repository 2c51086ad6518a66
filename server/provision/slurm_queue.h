// The batch jobs of workers in Slurm's queue.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/slurm.h"
#include "server/provision/pool.h"

namespace wring {

struct SlurmJob {
  BatchJob job;
  std::string node;    // of a running one
  std::string reason;  // why a pending one waits, in Slurm's words
};

// This user's jobs of that name that have not ended, each task of an array by itself. These throw as Slurm.
std::vector<SlurmJob> slurm_jobs(const Slurm& slurm, const std::string& name);
void cancel_slurm_jobs(const Slurm& slurm, const std::vector<std::string>& ids);
// How many tasks an array may have.
std::size_t max_array_size(const Slurm& slurm);

// A job of squeue's line "ID|STATE|COMMENT|NODES|REASON"; of others nothing is known.
SlurmJob parse_slurm_job(const std::string& line);

// The comment of a batch job, by which it is known again.
std::string batch_comment(const std::string& submit, bool keep);

}  // namespace wring

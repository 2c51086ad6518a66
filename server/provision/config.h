// What the file of --provision-config says: which jobs of a batch system are workers, and how many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/error.h"
#include "server/provision/pool.h"

namespace wring {

// Seconds and bytes. Paths are absolute, and seen by the compute nodes.
struct ProvisionConfig {
  std::string partition, account, qos, gres;  // empty: the cluster's default, none
  std::uint32_t cpus = 1;                     // of a worker
  std::uint64_t memory_bytes = 0;             // of a worker with its engine
  double time_limit_seconds = 3600;
  double notice_seconds = 120;  // a worker is told to drain so long before its time is over
  PoolOptions pool;             // min, max, idle_ms, start_ms
  double poll_seconds = 5;      // between two looks at the queues
  std::string server;           // HOST:PORT for workers; empty: the server's own address
  std::filesystem::path tls;    // folder of the workers' certificate; empty: plain text
  std::filesystem::path token_file;
  std::filesystem::path cache;                 // each worker takes a folder below it
  std::uint64_t cache_bytes = 50'000'000'000;  // of each worker
  std::filesystem::path logs;                  // folder; empty: none are kept
  std::vector<std::string> worker;   // program and leading arguments; empty: the one beside this program
  std::vector<std::string> sbatch;   // more arguments of sbatch
  std::vector<std::string> classes;  // that its workers say they are of
};

// Throws Error(kInvalidArgument) that names the key: MALFORMED_CONFIG, UNKNOWN_KEY, WRONG_TYPE, OUT_OF_RANGE,
// MISSING_PARAMETER, BAD_QUANTITY, BAD_ADDRESS, BAD_PATH, BAD_ARGUMENT,
// BAD_WORKER_CLASS.
ProvisionConfig parse_provision_config(const std::string& yaml);
ProvisionConfig read_provision_config(const std::filesystem::path& file);  // also MISSING_OPTION, NOT_FOUND

// The same error, about "provision.KEY".
Error of_provision(const Error& error);

}  // namespace wring

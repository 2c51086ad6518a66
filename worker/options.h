// What a worker is told on its command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace wring {

struct WorkerOptions {
  std::string server;                // HOST:PORT
  std::filesystem::path tls;         // folder with ca.crt, worker.crt and worker.key; empty: plain text
  std::string token;                 // of a worker on the server's machine; empty: none
  std::filesystem::path token_file;  // that holds the token
  std::filesystem::path config;      // file of these options; empty: none
  std::filesystem::path cache;       // folder
  bool cache_below = false;          // take the first folder below it that no other worker has
  std::uint64_t cache_bytes = 50'000'000'000;  // of blobs, kept stages and snapshots
  std::uint32_t threads = 0;                   // of an engine; 0: all
  std::uint64_t memory_bytes = 0;              // limit of an engine; 0: none
  std::filesystem::path engine;                // the wring-engine to run
  std::string name;                            // for people
  std::vector<std::string> classes;            // kinds of machine that it is of; jobs may ask for one
  std::string metrics;                         // HOST:PORT to serve /metrics on; empty: none
  double share_seconds = 2;                    // steps that took less are not shared with other workers
  double drain_seconds = 0;                    // how long a running job may go on after SIGTERM
  bool sandbox = true;                         // around engines
  bool once = false;                           // end after one job
  double exit_when_idle = 0;                   // seconds without a job; 0: stay
};

}  // namespace wring

// `wring-server init`: what a server needs before other machines may reach it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/json.h"

namespace wring {

struct InitOptions {
  std::vector<std::string> hosts;  // beside localhost, its addresses and this machine's name
  int days = 825;                  // of the server's certificate
};

struct InitReport {
  Json to_json() const;
  std::string in_words() const;  // with what to copy where

  std::filesystem::path tls;  // folder
  std::vector<std::string> hosts;
  std::string token_id, secret;  // of an admin
};

struct WorkerInitReport {
  Json to_json() const;
  std::string in_words() const;

  std::filesystem::path folder;
  std::string name;
};

// Makes DATA/tls where it is not there, a server certificate, and a token for an admin. What an earlier call
// made is kept, but for the server's certificate. Throws kFailedPrecondition "DATA_IN_USE" while a server
// uses the folder, kInvalidArgument "BAD_HOST".
InitReport init_server(const std::filesystem::path& data, const InitOptions& options);

// Makes DATA/tls/workers/NAME, also while a server uses the folder. Throws kFailedPrecondition
// "NO_AUTHORITY", kInvalidArgument "BAD_WORKER_NAME".
WorkerInitReport init_worker(const std::filesystem::path& data, const std::string& name, int days);

}  // namespace wring

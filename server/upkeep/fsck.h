// Whether a data folder still holds all that it promised.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/json.h"

namespace wring {

struct FsckReport {
  bool is_clean() const {
    return database.empty() && corrupt.empty() && unreadable.empty() && artifacts.empty();
  }
  Json to_json() const;

  std::uint64_t blobs = 0, bytes = 0;   // read and found whole
  std::uint64_t unused = 0;             // of them, in no artifact
  std::vector<std::string> database;    // what is wrong with it
  std::vector<std::string> corrupt;     // blobs that were set aside in FOLDER/corrupt
  std::vector<std::string> unreadable;  // blobs that the disk does not give
  struct Artifact {
    std::string digest, name;
    std::uint64_t missing = 0;      // of its chunks
    std::vector<std::string> jobs;  // that read or made it
  };
  std::vector<Artifact> artifacts;  // that cannot be read whole
};

// Checks the job database (PostgreSQL checks its own), reads every blob, and looks for every artifact's
// chunks. Damaged blobs are set
// aside, so that they can be uploaded again. No server may use the folder meanwhile. Throws Error: kNotFound
// "NO_DATA", kFailedPrecondition "DATA_IN_USE".
FsckReport check_data(const std::filesystem::path& folder);

}  // namespace wring

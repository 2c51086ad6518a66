// Every call of this process that changes files below a folder, in order.
#pragma once

#include <filesystem>
#include <vector>

#include "tests/crash/disk.h"

namespace wring::crash {

// While one lives, calls that change files below `root` are carried out and kept; one at a time in a process.
// The calls are libc's own, made by whatever library: this program's definitions come before libc's. Left
// out: "-shm" files, which SQLite makes anew from the journal, and times.
class Recorder {
 public:
  // `disk` holds what lies below `root` already.
  explicit Recorder(const std::filesystem::path& root, const Disk& disk = {});
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  std::size_t count() const;  // of the calls so far
  std::vector<Call> calls() const;
};

}  // namespace wring::crash

// Backups of a server's data folder, taken while it runs, and the way back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/json.h"

namespace wring {

struct BackupReport {
  Json to_json() const;

  std::uint64_t jobs = 0, artifacts = 0;
  std::uint64_t blobs = 0, bytes = 0;  // that the artifacts are made of
  std::uint64_t copied_bytes = 0;      // of them, those that were not there already
  std::uint64_t epoch = 0;
  std::vector<std::string> lost;  // blobs that the source lacks or holds damaged; all else was copied
};

// Copies the job database as it is now and every blob that its artifacts name from `data`, whose server may
// be running, or which may be mounted read-only where nobody writes to it meanwhile, into `folder`, which
// then has a data folder's layout. A second backup into it copies the blobs that are new. The database
// appears last: a backup that is cut off leaves the one before it. Throws Error: kNotFound "NO_DATA",
// kResourceExhausted "DISK_FULL", kFailedPrecondition "DATA_CHANGES".
BackupReport back_up(const std::filesystem::path& data, const std::filesystem::path& folder);

// Makes `data` (which holds neither a job database nor blobs, but of a restore that was cut off) from a
// backup, which may be mounted read-only. The epoch becomes the time, so that it is higher than that of an
// earlier restore of the same backup: whoever holds a lease that was given since the backup is refused.
// Throws Error: kFailedPrecondition "DATA_NOT_EMPTY", "DATA_IN_USE"; else as back_up().
BackupReport restore_backup(const std::filesystem::path& folder, const std::filesystem::path& data,
                            const Clock& clock);

}  // namespace wring

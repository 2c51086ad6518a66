// flock on FOLDER/lock: the kernel lets go of it however the process ends.
#include "server/upkeep/data_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "common/error.h"

namespace wring {

FileDescriptor lock_data(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto path = folder / "lock";
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) throw_io_error("open", path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    throw Error(ErrorCode::kFailedPrecondition, "DATA_IN_USE", "another process uses " + folder.string(),
                "data", "Stop that server, or give this one a folder of its own.");
  return fd;
}

void check_has_database(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / kDatabase)) return;
  throw Error(ErrorCode::kNotFound, "NO_DATA", "there is no job database in " + folder.string(), "data",
              "Give the folder that wring-server has as --data, or a backup of it.");
}

}  // namespace wring

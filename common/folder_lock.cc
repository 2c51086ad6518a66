// flock on a file that stays.
#include "common/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

namespace wring {

FileDescriptor lock_folder(const std::filesystem::path& folder, const Error& in_use) {
  const auto path = folder / "lock";
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) throw_io_error("open", path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) throw in_use;
  return fd;
}

}  // namespace wring

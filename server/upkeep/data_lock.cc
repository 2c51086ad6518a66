// The lock and the look for a database, as everything that opens a data folder needs them.
#include "server/upkeep/data_lock.h"

#include <unistd.h>

#include <cerrno>

#include "common/error.h"
#include "common/files.h"
#include "common/folder_lock.h"
#include "server/store/place.h"
#include "server/store/sqlite/connection.h"

namespace wring {

namespace {

// A process that was killed may have made the folder without this. Where only root may list the folder above,
// it was not made here.
void sync_name(const std::filesystem::path& folder) {
  const auto above = std::filesystem::absolute(without_slash(folder)).parent_path();
  if (::access(above.c_str(), R_OK) == 0) sync_path(above);
}

}  // namespace

FileDescriptor lock_data(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  sync_name(folder);
  return lock_folder(
      folder, Error(ErrorCode::kFailedPrecondition, "DATA_IN_USE", "another process uses " + folder.string(),
                    "data", "Stop that server, or give this one a folder of its own."));
}

bool is_read_only(const std::filesystem::path& folder) {
  return ::access(folder.c_str(), W_OK) != 0 && errno == EROFS;
}

void check_has_database(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / kDatabase) || is_on_postgresql(folder)) return;
  throw Error(ErrorCode::kNotFound, "NO_DATA", "there is no job database in " + folder.string(), "data",
              "Give the folder that wring-server has as --data, or a backup of it.");
}

}  // namespace wring

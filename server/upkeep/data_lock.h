// One process at a time in a server's data folder.
#pragma once

#include <filesystem>

#include "common/files.h"

namespace wring {

// Makes the folder where it is missing and keeps others out until the descriptor is closed. Throws
// Error(kFailedPrecondition, "DATA_IN_USE").
FileDescriptor lock_data(const std::filesystem::path& folder);

// Whether the folder is mounted read-only: nobody uses it by this path, and it cannot be locked.
bool is_read_only(const std::filesystem::path& folder);

// Throws Error(kNotFound, "NO_DATA") where the folder has no job database.
void check_has_database(const std::filesystem::path& folder);

}  // namespace wring

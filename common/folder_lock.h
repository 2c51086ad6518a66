// One process at a time in a folder.
#pragma once

#include <filesystem>

#include "common/error.h"
#include "common/files.h"

namespace wring {

// Holds FOLDER/lock until the descriptor is closed; the kernel lets go of it however the process ends. Throws
// `in_use` where another process holds it.
FileDescriptor lock_folder(const std::filesystem::path& folder, const Error& in_use);

}  // namespace wring

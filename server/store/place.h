// Which job database a data folder has.
#pragma once

#include <filesystem>
#include <memory>

#include "server/store/database.h"

namespace wring {

// What DATA/database.yaml names (docs/operations.md); DATA/wring.db where there is no such file. Throws
// Error(kInvalidArgument) that names the key; kFailedPrecondition "TWO_DATABASES" where both are there.
std::unique_ptr<Database> open_database(const std::filesystem::path& data);

bool is_on_postgresql(const std::filesystem::path& data);

// Throws Error(kFailedPrecondition, "ON_POSTGRESQL") where the database is none of the folder's files: `verb`
// cannot be done here, and `instead` says how it is.
void check_on_sqlite(const std::filesystem::path& data, const char* verb, const char* instead);

}  // namespace wring

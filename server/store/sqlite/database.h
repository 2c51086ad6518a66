// A connection to a job database file.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <memory>

namespace wring {

inline constexpr const char* kDatabase = "wring.db";  // in a data folder

struct CloseDatabase {
  void operator()(sqlite3* database) const;
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

// Opens or makes the file: WAL, synchronous=FULL. Throws Error kInternal "DATABASE".
Database open_database(const std::filesystem::path& path);

bool has_table(sqlite3* database, const char* name);  // one of an older schema may lack it

}  // namespace wring

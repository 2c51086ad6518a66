// The pragmas that every connection to a job database needs.
#include "server/store/sqlite/database.h"

#include <string>

#include "common/error.h"
#include "server/store/sqlite/statement.h"

namespace wring {

void CloseDatabase::operator()(sqlite3* database) const {
  forget_statements(database);
  sqlite3_close_v2(database);
}

Database open_database(const std::filesystem::path& path) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Database database(raw);
  if (code != SQLITE_OK)
    throw Error(ErrorCode::kInternal, "DATABASE",
                "cannot open the job database " + path.string() + ": " + sqlite3_errmsg(raw));
  execute(raw,
          "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
          "foreign_keys = ON");
  keep_statements(raw);
  return database;
}

bool has_table(sqlite3* database, const char* name) {
  Statement row(database, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?");
  row.bind(name);
  return row.row();
}

}  // namespace wring

// SQLite's C interface with errors as exceptions.
#include "server/store/sqlite/statement.h"

#include "common/error.h"

namespace wring {

void throw_sqlite(sqlite3* database, int code) {
  const std::string message = std::string("job database: ") + sqlite3_errmsg(database);
  switch (code & 0xff) {
    case SQLITE_FULL:
      throw Error(ErrorCode::kResourceExhausted, "DISK_FULL", message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw Error(ErrorCode::kDataLoss, "DATABASE_CORRUPT", message, "", "Restore the last backup.");
    default:
      throw Error(ErrorCode::kInternal, "DATABASE", message);
  }
}

void execute(sqlite3* database, const char* sql) {
  if (const int code = sqlite3_exec(database, sql, nullptr, nullptr, nullptr); code != SQLITE_OK)
    throw_sqlite(database, code);
}

Statement::Statement(sqlite3* database, const char* sql) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  if (const int code = sqlite3_prepare_v2(database, sql, -1, &statement, nullptr); code != SQLITE_OK)
    throw_sqlite(database, code);
  statement_.reset(statement);
}

Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), next_++, value);
  return *this;
}
Statement& Statement::bind(double value) {
  sqlite3_bind_double(statement_.get(), next_++, value);
  return *this;
}
Statement& Statement::bind(std::string_view value) {
  sqlite3_bind_text64(statement_.get(), next_++, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind_null() {
  sqlite3_bind_null(statement_.get(), next_++);
  return *this;
}

bool Statement::row() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) throw_sqlite(database_, code);
  return false;
}

void Statement::run() {
  while (row()) {
  }
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Statement::number(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}
std::string Statement::text(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)))
              : std::string();
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

}  // namespace wring

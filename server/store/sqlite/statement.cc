// SQLite's C interface with errors as exceptions.
#include "server/store/sqlite/statement.h"

#include <mutex>
#include <unordered_map>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::size_t kMostKept = 100;  // of one connection

// By connection and SQL: those that nobody uses. Preparing takes longer than most statements run.
class KeptStatements {
 public:
  void open(sqlite3* database) {
    const std::lock_guard lock(mutex_);
    kept_.try_emplace(database);
  }
  void close(sqlite3* database) {
    const std::lock_guard lock(mutex_);
    for (const auto& [sql, statement] : kept_[database]) sqlite3_finalize(statement);
    kept_.erase(database);
  }
  sqlite3_stmt* take(sqlite3* database, const char* sql) {
    const std::lock_guard lock(mutex_);
    const auto statements = kept_.find(database);
    if (statements == kept_.end()) return nullptr;
    const auto found = statements->second.find(sql);
    if (found == statements->second.end()) return nullptr;
    auto* statement = found->second;
    statements->second.erase(found);
    return statement;
  }
  bool give(sqlite3* database, sqlite3_stmt* statement) {
    const std::lock_guard lock(mutex_);
    const auto statements = kept_.find(database);
    if (statements == kept_.end() || statements->second.size() >= kMostKept) return false;
    statements->second.emplace(sqlite3_sql(statement), statement);
    return true;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<sqlite3*, std::unordered_multimap<std::string, sqlite3_stmt*>> kept_;
};

KeptStatements& kept() {
  static KeptStatements statements;
  return statements;
}

}  // namespace

void keep_statements(sqlite3* database) {
  kept().open(database);
}
void forget_statements(sqlite3* database) {
  kept().close(database);
}

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

Statement::Statement(sqlite3* database, const char* sql)
    : database_(database), statement_(kept().take(database, sql)) {
  if (statement_) return;
  if (const int code = sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
      code != SQLITE_OK)
    throw_sqlite(database, code);
}

Statement::~Statement() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  if (!kept().give(database_, statement_)) sqlite3_finalize(statement_);
}

Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_, next_++, value);
  return *this;
}
Statement& Statement::bind(double value) {
  sqlite3_bind_double(statement_, next_++, value);
  return *this;
}
Statement& Statement::bind(std::string_view value) {
  sqlite3_bind_text64(statement_, next_++, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind_null() {
  sqlite3_bind_null(statement_, next_++);
  return *this;
}

bool Statement::row() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) throw_sqlite(database_, code);
  return false;
}

void Statement::run() {
  while (row()) {
  }
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
double Statement::number(int column) const {
  return sqlite3_column_double(statement_, column);
}
std::string Statement::text(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
              : std::string();
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

}  // namespace wring

// SQLite's C interface with errors as exceptions, and the pragmas that every connection needs.
#include "server/store/sqlite/connection.h"

#include "common/error.h"
#include "server/store/sqlite/schema.h"
#include "server/store/statement.h"

namespace wring {
namespace {

// New jobs go all over the tables that are ordered by id: 32 MiB of pages are kept. A checkpoint every 32 MiB
// writes the pages that every commit changes less often.
constexpr const char* kWriterPragmas = "PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 8192";

class SqliteStatement final : public Prepared {
 public:
  SqliteStatement(sqlite3* database, const std::string& sql) : database_(database) {
    if (const int code =
            sqlite3_prepare_v3(database, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
        code != SQLITE_OK)
      throw_sqlite(database, code);
  }
  ~SqliteStatement() override { sqlite3_finalize(statement_); }

  void bind(int parameter, std::int64_t value) override { sqlite3_bind_int64(statement_, parameter, value); }
  void bind(int parameter, double value) override { sqlite3_bind_double(statement_, parameter, value); }
  void bind(int parameter, std::string_view value) override {
    sqlite3_bind_text64(statement_, parameter, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }
  void bind_null(int parameter) override { sqlite3_bind_null(statement_, parameter); }

  bool row() override {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) throw_sqlite(database_, code);
    return false;
  }
  void reset() override {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  std::int64_t integer(int column) const override { return sqlite3_column_int64(statement_, column); }
  double number(int column) const override { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const override {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
                : std::string();
  }
  bool is_null(int column) const override { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace

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

SqliteConnection::SqliteConnection(const std::filesystem::path& path) {
  const int code = sqlite3_open_v2(
      path.c_str(), &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  try {
    if (code != SQLITE_OK)
      throw Error(ErrorCode::kInternal, "DATABASE",
                  "cannot open the job database " + path.string() + ": " + sqlite3_errmsg(database_));
    execute(
        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
        "foreign_keys = ON");
  } catch (...) {
    sqlite3_close_v2(database_);
    throw;
  }
}

SqliteConnection::~SqliteConnection() {
  forget_statements();
  sqlite3_close_v2(database_);
}

void SqliteConnection::execute(const std::string& sql) {
  if (const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr); code != SQLITE_OK)
    throw_sqlite(database_, code);
}

std::int64_t SqliteConnection::changes() const {
  return sqlite3_changes64(database_);
}

void SqliteConnection::rollback() noexcept {
  sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
}

std::unique_ptr<Prepared> SqliteConnection::prepare(const std::string& sql) {
  return std::make_unique<SqliteStatement>(database_, sql);
}

bool SqliteConnection::has_table(const char* name) {
  Statement row(*this, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?");
  row.bind(name);
  return row.row();
}

std::unique_ptr<Connection> SqliteDatabase::connect() {
  return std::make_unique<SqliteConnection>(path_);
}

std::unique_ptr<Connection> SqliteDatabase::connect_to_write() {
  auto connection = std::make_unique<SqliteConnection>(path_);
  migrate(*connection);
  connection->execute(kWriterPragmas);
  return connection;
}

}  // namespace wring

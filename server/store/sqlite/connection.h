// A connection to a job database file.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>

#include "server/store/connection.h"
#include "server/store/database.h"

namespace wring {

inline constexpr const char* kDatabase = "wring.db";  // in a data folder

// What SQLite's `code` means, with the connection's message: Error kResourceExhausted "DISK_FULL", kDataLoss
// "DATABASE_CORRUPT", else kInternal.
[[noreturn]] void throw_sqlite(sqlite3* database, int code);

class SqliteConnection final : public Connection {
 public:
  // Opens or makes the file: WAL, synchronous=FULL. Throws Error kInternal "DATABASE".
  explicit SqliteConnection(const std::filesystem::path& path);
  ~SqliteConnection() override;

  void execute(const std::string& sql) override;
  std::int64_t changes() const override;
  void begin() override { execute("BEGIN IMMEDIATE"); }
  void rollback() noexcept override;
  bool finds_names() const override { return true; }
  bool has_table(const char* name);  // one of an older schema may lack it
  sqlite3* handle() const { return database_; }

 protected:
  std::unique_ptr<Prepared> prepare(const std::string& sql) override;

 private:
  sqlite3* database_ = nullptr;
};

class SqliteDatabase final : public Database {
 public:
  explicit SqliteDatabase(std::filesystem::path path) : path_(std::move(path)) {}
  std::unique_ptr<Connection> connect() override;
  // Throws Error kFailedPrecondition "NEWER_SCHEMA".
  std::unique_ptr<Connection> connect_to_write() override;

 private:
  std::filesystem::path path_;
};

}  // namespace wring

// SQLite statements with bound values and typed columns.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace wring {

// What SQLite's `code` means, with the connection's message: Error kResourceExhausted "DISK_FULL", kDataLoss
// "DATABASE_CORRUPT", else kInternal.
[[noreturn]] void throw_sqlite(sqlite3* database, int code);

// Runs SQL without results. Throws as throw_sqlite.
void execute(sqlite3* database, const char* sql);

// From here on, statements that are over stay prepared for the next one of the same SQL, until
// forget_statements().
void keep_statements(sqlite3* database);
void forget_statements(sqlite3* database);

// A prepared statement. One thread.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value);
  Statement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(int value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  Statement& bind(const std::string& value) { return bind(std::string_view(value)); }
  Statement& bind(const char* value) { return bind(std::string_view(value)); }
  Statement& bind_null();

  bool row();  // the next row; false at the end
  void run();  // to the end

  std::int64_t integer(int column) const;
  double number(int column) const;
  std::string text(int column) const;  // also of blobs
  bool is_null(int column) const;

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_;
  int next_ = 1;
};

}  // namespace wring

// Statements with bound values and typed columns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/store/connection.h"

namespace wring {

// A statement of a connection, which keeps it prepared for the next one of the same SQL. One thread.
class Statement {
 public:
  Statement(Connection& connection, const char* sql);
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

  std::int64_t integer(int column) const { return prepared().integer(column); }
  double number(int column) const { return prepared().number(column); }
  std::string text(int column) const { return prepared().text(column); }  // also of blobs
  bool is_null(int column) const { return prepared().is_null(column); }

 private:
  using Kept = decltype(Connection::kept_);
  Prepared& prepared() const { return *node_.mapped(); }

  Connection& connection_;
  mutable Kept::node_type node_;
  int next_ = 1;
};

}  // namespace wring

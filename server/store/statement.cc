// Statements are taken from their connection and given back.
#include "server/store/statement.h"

#include <utility>

namespace wring {
namespace {

constexpr std::size_t kMostKept = 100;  // of one connection

}  // namespace

Statement::Statement(Connection& connection, const char* sql) : connection_(connection) {
  node_ = connection.kept_.extract(sql);
  if (node_) return;
  Kept fresh;
  node_ = fresh.extract(fresh.emplace(sql, connection.prepare(sql)));
}

Statement::~Statement() {
  prepared().reset();
  if (connection_.kept_.size() < kMostKept) connection_.kept_.insert(std::move(node_));
}

Statement& Statement::bind(std::int64_t value) {
  prepared().bind(next_++, value);
  return *this;
}
Statement& Statement::bind(double value) {
  prepared().bind(next_++, value);
  return *this;
}
Statement& Statement::bind(std::string_view value) {
  prepared().bind(next_++, value);
  return *this;
}
Statement& Statement::bind_null() {
  prepared().bind_null(next_++);
  return *this;
}

bool Statement::row() {
  return prepared().row();
}

void Statement::run() {
  while (row()) {
  }
}

}  // namespace wring

// A session with a job database on PostgreSQL.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/store/connection.h"

namespace wring {

struct CloseSession {
  void operator()(PGconn* session) const { PQfinish(session); }
};
struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using PostgresResult = std::unique_ptr<PGresult, ClearResult>;

// Commits are durable when they return (synchronous_commit), statements see what was committed before them
// (read committed). Throws also kUnavailable "DATABASE_AWAY" where the session is lost; it is not opened
// again.
class PostgresConnection final : public Connection {
 public:
  // `url` as libpq takes it. Throws Error kUnavailable "DATABASE_AWAY", kFailedPrecondition "OLD_POSTGRESQL".
  explicit PostgresConnection(const std::string& url);
  ~PostgresConnection() override;

  void execute(const std::string& sql) override;
  std::int64_t changes() const override { return changes_; }
  bool is_alive() const override;
  // Of a fenced connection: throws Error kAborted "NOT_THE_LEADER" where another server has raised the epoch.
  // It cannot be raised until the transaction has ended.
  void begin() override;
  void rollback() noexcept override;

  // From here on every transaction is one of this epoch, and one that waits for its next statement for so
  // long is given up by PostgreSQL.
  void fence(std::uint64_t epoch, std::chrono::milliseconds longest_pause);
  // Whether PostgreSQL answers within `limit`.
  bool answers(std::chrono::milliseconds limit);

  // Throws what the result says where it is a failure; notes the rows that were changed.
  PostgresResult checked(PGresult* result);
  PGconn* session() const { return session_.get(); }

 protected:
  std::unique_ptr<Prepared> prepare(const std::string& sql) override;

 private:
  std::unique_ptr<PGconn, CloseSession> session_;
  std::optional<std::uint64_t> epoch_;
  std::int64_t changes_ = 0;
  std::uint64_t prepared_ = 0;
};

// SQL with ? and ?N as PostgreSQL writes them: $1, $2, ...
std::string with_dollars(const std::string& sql);

// Text as PostgreSQL can hold it: what is no UTF-8, and NUL, become U+FFFD.
std::string as_stored_text(std::string_view text);

}  // namespace wring

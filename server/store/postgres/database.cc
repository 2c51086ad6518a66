// The lock, the epoch, and the thread that holds on to the lock.
#include "server/store/postgres/database.h"

#include <cstdlib>

#include "common/error.h"
#include "common/log.h"
#include "server/store/postgres/schema.h"
#include "server/store/statement.h"

namespace wring {
namespace {

constexpr int kBeatsInALease = 5;

// Later than that of every server before, also where the database was restored from a dump. Only while the
// session `leader` has the lock: one that lost it unheard must not end the next one.
std::uint64_t raise_epoch(PostgresConnection& connection, int leader) {
  Statement row(connection,
                "UPDATE meta SET value = greatest(value + 1, "
                "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)) "
                "WHERE key = 'epoch' AND EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND "
                "granted AND pid = ?) "
                "RETURNING value");
  row.bind(static_cast<std::int64_t>(leader));
  if (!row.row())
    throw Error(ErrorCode::kUnavailable, "NOT_THE_LEADER", "this server's lock on the database is gone");
  return static_cast<std::uint64_t>(row.integer(0));
}

}  // namespace

PostgresDatabase::PostgresDatabase(PostgresPlace place) : place_(std::move(place)), lock_(place_.url) {}

// The next one need not wait until PostgreSQL has seen that the session is over.
PostgresDatabase::~PostgresDatabase() {
  if (!holder_.joinable()) return;
  holder_.request_stop();
  holder_.join();
  PQclear(PQexec(lock_.session(), "SELECT pg_advisory_unlock_all()"));
}

std::unique_ptr<Connection> PostgresDatabase::connect() {
  return std::make_unique<PostgresConnection>(place_.url);
}

bool PostgresDatabase::lead() {
  if (holder_.joinable()) return true;
  // Before the lock is taken, so that it is never held without a limit.
  lock_.execute("SET idle_session_timeout = " + std::to_string(place_.lease.count()));
  if (!take_lock()) {
    lock_.execute("SET idle_session_timeout = 0");
    return false;
  }
  holder_ = std::jthread([this](const std::stop_token& stopped) { hold(stopped); });
  return true;
}

bool PostgresDatabase::take_lock() {
  Statement lock(lock_, "SELECT CAST(pg_try_advisory_lock(7433, hashtext(current_schema())) AS INTEGER)");
  lock.row();
  if (lock.is_null(0))
    throw Error(ErrorCode::kFailedPrecondition, "NO_SCHEMA", "the database has no schema of the search path",
                "data", "Make it: CREATE SCHEMA, by a role that may.");
  return lock.integer(0) != 0;
}

void PostgresDatabase::hold(const std::stop_token& stopped) {
  for (auto heard = std::chrono::steady_clock::now();;) {
    {
      std::unique_lock lock(mutex_);
      woken_.wait_for(lock, stopped, place_.lease / kBeatsInALease, [] { return false; });
      if (stopped.stop_requested()) return;
    }
    const auto asked = std::chrono::steady_clock::now();
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(heard + place_.lease - asked);
    if (!lock_.answers(left)) {
      const std::string why = PQerrorMessage(lock_.session());
      spdlog::critical("this server no longer leads: {}", why.empty() ? "its lease ran out" : why);
      std::_Exit(exit_status(ErrorCode::kUnavailable));
    }
    heard = asked;
  }
}

std::unique_ptr<Connection> PostgresDatabase::connect_to_write() {
  if (!lead())
    throw Error(ErrorCode::kFailedPrecondition, "DATABASE_IN_USE", "another server leads on this database",
                "data", "Stop the servers that database.yaml's database has, and those that wait for it.");
  auto connection = std::make_unique<PostgresConnection>(place_.url);
  migrate(*connection);
  connection->fence(raise_epoch(*connection, PQbackendPID(lock_.session())), place_.lease);
  return connection;
}

}  // namespace wring

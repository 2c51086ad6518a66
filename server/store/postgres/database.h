// A job database on PostgreSQL, which several servers may name and one leads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server/store/database.h"
#include "server/store/postgres/connection.h"

namespace wring {

struct PostgresPlace {
  std::string url;  // as libpq takes it
  std::chrono::milliseconds lease{5000};
};

// Leadership is an advisory lock, held by a session of its own. PostgreSQL ends that session when it hears
// nothing of it for `lease`; the process ends when it could not make itself heard for as long, so before
// another one leads. Whoever leads raises the epoch first, and every transaction checks it: one of a server
// that leads no longer, and does not know it yet, is refused.
class PostgresDatabase final : public Database {
 public:
  explicit PostgresDatabase(PostgresPlace place);
  ~PostgresDatabase() override;

  std::unique_ptr<Connection> connect() override;
  bool lead() override;
  // Leads, where it does not yet. Throws Error kFailedPrecondition "DATABASE_IN_USE", "NEWER_SCHEMA",
  // "NO_SCHEMA". Once.
  std::unique_ptr<Connection> connect_to_write() override;

 private:
  bool take_lock();
  void hold(const std::stop_token& stopped);

  PostgresPlace place_;
  PostgresConnection lock_;
  std::mutex mutex_;
  std::condition_variable_any woken_;
  std::jthread holder_;
};

}  // namespace wring

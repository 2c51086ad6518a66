// Connections that read beside the writer: a long query holds up nobody but its caller.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "server/store/database.h"

namespace wring {

// Some connections of one database. Any thread may call.
class Readers {
 public:
  explicit Readers(Database& database);

 private:
  friend class Reader;
  Database& database_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

// One of them, as long as this lives; waits for one. Sees what was committed before. One that has lost its
// database is opened again: throws as Database::connect().
class Reader {
 public:
  explicit Reader(Readers& readers);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Connection& get() const { return *connection_; }

 private:
  void give_back();

  Readers& readers_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace wring

// Connections that read beside the writer: a long query holds up nobody but its caller.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <vector>

#include "server/store/sqlite/database.h"

namespace wring {

// Some connections of one database. Any thread may call.
class Readers {
 public:
  explicit Readers(const std::filesystem::path& path);

 private:
  friend class Reader;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Database> idle_;
};

// One of them, as long as this lives; waits for one. Sees what was committed before.
class Reader {
 public:
  explicit Reader(Readers& readers);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  sqlite3* get() const { return database_.get(); }

 private:
  Readers& readers_;
  Database database_;
};

}  // namespace wring

// The one writer of the database: commits that come together share one transaction and one fsync.
#pragma once

#include <sqlite3.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace wring {

// Runs write actions on a thread of its own, in the order they came, as many as wait in one transaction. Any
// thread may call. Where a commit fails the process ends: its memory would be ahead of the disk, and a
// restart mends that.
class Writer {
 public:
  explicit Writer(sqlite3* database);
  ~Writer();  // commits what waits
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Becomes ready when the action is on disk.
  std::future<void> write(std::function<void(sqlite3*)> action);

 private:
  struct Item {
    std::function<void(sqlite3*)> action;
    std::promise<void> done;
  };
  void run();

  sqlite3* database_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Item> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace wring

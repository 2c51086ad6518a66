// The one writer of the database: commits that come together share one transaction and one fsync.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "server/store/connection.h"

namespace wring {

// Runs write actions on a thread of its own, in the order they came, as many as wait in one transaction. Any
// thread may call.
//
// A commit that was accepted is never dropped, for the scheduler's state is ahead of the disk by it: while
// the disk is full it waits and tries again; where the database fails otherwise, the process ends, and a
// restart goes on from the last commit.
class Writer {
 public:
  explicit Writer(Connection& database);
  ~Writer();  // commits what waits
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Becomes ready when the action is on disk. It may run more than once.
  std::future<void> write(std::function<void(Connection&)> action);

  bool waits_for_space() const { return waits_for_space_; }
  std::uint64_t commits() const { return commits_; }

 private:
  struct Item {
    std::function<void(Connection&)> action;
    std::promise<void> done;
  };
  void run();
  void commit(const std::vector<Item>& batch);
  void pause();

  Connection& database_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Item> waiting_;
  bool stopping_ = false;
  std::atomic<bool> waits_for_space_ = false;
  std::atomic<std::uint64_t> commits_ = 0;
  std::thread thread_;
};

}  // namespace wring

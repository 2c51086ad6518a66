// Group commit.
#include "server/store/writer.h"

#include <chrono>
#include <cstdlib>
#include <utility>

#include "common/error.h"
#include "common/log.h"

namespace wring {

Writer::Writer(Connection& database) : database_(database), thread_([this] { run(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_one();
  thread_.join();
}

std::future<void> Writer::write(std::function<void(Connection&)> action) {
  std::future<void> done;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(action), {}});
    done = waiting_.back().done.get_future();
  }
  arrived_.notify_one();
  return done;
}

void Writer::run() {
  for (;;) {
    std::vector<Item> batch;
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      batch.swap(waiting_);
    }
    commit(batch);
    for (auto& item : batch) item.done.set_value();
  }
}

void Writer::commit(const std::vector<Item>& batch) {
  for (;;) {
    try {
      database_.begin();
      for (const auto& item : batch) item.action(database_);
      database_.commit();
      ++commits_;
      if (waits_for_space_.exchange(false)) spdlog::info("the job database has disk space again");
      return;
    } catch (...) {
      const Error error = current_error();
      database_.rollback();
      if (error.reason() == "DISK_FULL") {
        if (!waits_for_space_.exchange(true)) spdlog::error("{}; commits wait", error.message());
        pause();
        continue;
      }
      spdlog::critical("the job database cannot be written: {}", error.message());
      std::_Exit(exit_status(error.code()));
    }
  }
}

// Half a second, or, when the process ends, the end of it: what waits was not acknowledged.
void Writer::pause() {
  std::unique_lock lock(mutex_);
  if (arrived_.wait_for(lock, std::chrono::milliseconds(500), [&] { return stopping_; })) {
    spdlog::critical("stopped while the disk is full");
    std::_Exit(exit_status(ErrorCode::kResourceExhausted));
  }
}

}  // namespace wring

// Group commit.
#include "server/store/sqlite/writer.h"

#include <cstdlib>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "server/store/sqlite/statement.h"

namespace wring {

Writer::Writer(sqlite3* database) : database_(database), thread_([this] { run(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_one();
  thread_.join();
}

std::future<void> Writer::write(std::function<void(sqlite3*)> action) {
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
    try {
      execute(database_, "BEGIN IMMEDIATE");
      for (auto& item : batch) item.action(database_);
      execute(database_, "COMMIT");
    } catch (const Error& error) {
      spdlog::critical("the job database cannot be written: {}", error.message());
      std::_Exit(exit_status(ErrorCode::kResourceExhausted));
    }
    for (auto& item : batch) item.done.set_value();
  }
}

}  // namespace wring

// A few connections, handed out and taken back.
#include "server/store/readers.h"

#include <utility>

namespace wring {
namespace {

constexpr int kConnections = 4;

}  // namespace

Readers::Readers(Database& database) : database_(database) {
  for (int i = 0; i < kConnections; ++i) idle_.push_back(database.connect());
}

Reader::Reader(Readers& readers) : readers_(readers) {
  std::unique_lock lock(readers_.mutex_);
  readers_.returned_.wait(lock, [&] { return !readers_.idle_.empty(); });
  connection_ = std::move(readers_.idle_.back());
  readers_.idle_.pop_back();
  lock.unlock();
  if (connection_->is_alive()) return;
  try {
    connection_ = readers_.database_.connect();
  } catch (...) {
    give_back();
    throw;
  }
}

Reader::~Reader() {
  give_back();
}

void Reader::give_back() {
  {
    const std::lock_guard lock(readers_.mutex_);
    readers_.idle_.push_back(std::move(connection_));
  }
  readers_.returned_.notify_one();
}

}  // namespace wring

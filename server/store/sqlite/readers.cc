// A few connections, handed out and taken back.
#include "server/store/sqlite/readers.h"

#include <utility>

namespace wring {
namespace {

constexpr int kConnections = 4;

}  // namespace

Readers::Readers(const std::filesystem::path& path) {
  for (int i = 0; i < kConnections; ++i) idle_.push_back(open_database(path));
}

Reader::Reader(Readers& readers) : readers_(readers) {
  std::unique_lock lock(readers_.mutex_);
  readers_.returned_.wait(lock, [&] { return !readers_.idle_.empty(); });
  database_ = std::move(readers_.idle_.back());
  readers_.idle_.pop_back();
}

Reader::~Reader() {
  {
    const std::lock_guard lock(readers_.mutex_);
    readers_.idle_.push_back(std::move(database_));
  }
  readers_.returned_.notify_one();
}

}  // namespace wring

// Who wants a lock alone, among many who share it without a gap.
#include "common/fair_shared_mutex.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace wring {
namespace {

TEST(FairSharedMutex, IsHadAloneBetweenOthersWhoNeverAllLetGo) {
  FairSharedMutex mutex;
  std::atomic<bool> was_alone = false;
  std::atomic<int> sharing = 0, most = 0;
  const auto share = [&] {  // holds it until another one does, too
    while (!was_alone) {
      const std::shared_lock lock(mutex);
      most = std::max<int>(most, ++sharing);
      for (int i = 0; i < 1000 && sharing < 2 && !was_alone; ++i) std::this_thread::yield();
      --sharing;
    }
  };
  std::vector<std::jthread> others;
  for (int i = 0; i < 4; ++i) others.emplace_back(share);
  while (most < 2) std::this_thread::yield();
  const std::lock_guard lock(mutex);
  EXPECT_EQ(sharing, 0);
  was_alone = true;
}

}  // namespace
}  // namespace wring

// How many cores this process may use.
#include "common/cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace wring {
namespace {

TEST(Cores, AreThoseThatTheThreadIsBoundTo) {
  const int before = usable_cores();
  ASSERT_GE(before, 1);
  int bound = 0;
  std::thread([&] {  // affinity is a thread's own
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &mask);
    ASSERT_EQ(::sched_setaffinity(0, sizeof mask, &mask), 0);
    bound = usable_cores();
  })
      .join();
  EXPECT_EQ(bound, 1);
  EXPECT_EQ(usable_cores(), before);
}

TEST(Cores, OfAQuotaAreRoundedUp) {
  EXPECT_EQ(cores_of_quota("400000 100000\n"), 4);
  EXPECT_EQ(cores_of_quota("150000 100000\n"), 2);
  EXPECT_EQ(cores_of_quota("50000 100000\n"), 1);
  EXPECT_EQ(cores_of_quota("9223372036854775807 1\n"), 2147483647);
}

TEST(Cores, OfNoQuotaAreNone) {
  for (const char* text : {"max 100000\n", "", "400000", "0 100000", "-1 100000", "400000 0", "400000 -5",
                           "a b", "99999999999999999999 100000"})
    EXPECT_EQ(cores_of_quota(text), 0) << text;
}

}  // namespace
}  // namespace wring

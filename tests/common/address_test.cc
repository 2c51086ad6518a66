// Which hosts are this machine alone.
#include "common/address.h"

#include <gtest/gtest.h>

namespace wring {
namespace {

TEST(Address, OfLoopbackIsToldFromOneThatOnlyLooksLikeIt) {
  for (const char* host : {"localhost", "127.0.0.1", "127.9.8.7", "::1", "[::1]", "::ffff:127.0.0.1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "[::]", "10.0.0.1", "127.evil.example", "localhost.evil.example",
                           "fe80::1", "2001:db8::1", "::ffff:10.0.0.1", ""})
    EXPECT_FALSE(is_loopback(host)) << host;
}

}  // namespace
}  // namespace wring

// Any bytes as a Range header: refused, none of ours, or a part of the file. The first eight are the file's
// size.
#include <cstring>

#include "server/http/range.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  std::uint64_t bytes = 0;
  if (size < sizeof bytes) return 0;
  std::memcpy(&bytes, data, sizeof bytes);
  return fuzz::expect_error_or_success([&] {
    const auto range = parse_range(fuzz::text_of(data + sizeof bytes, size - sizeof bytes), bytes);
    if (range) fuzz::require(range->from < range->to && range->to <= bytes);
  });
}

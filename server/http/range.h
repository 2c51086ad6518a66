// What a Range header asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace wring {

struct ByteRange {
  std::uint64_t from = 0, to = 0;  // [from, to), not empty
};

// Of a file of `size` bytes: "bytes=5-", "bytes=5-9", "bytes=-4". nullopt where there is none that we serve:
// then the whole file is due. Throws kOutOfRange "RANGE_NOT_SATISFIABLE" with the Content-Range as its hint.
std::optional<ByteRange> parse_range(std::string_view text, std::uint64_t size);

}  // namespace wring

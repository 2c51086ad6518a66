// One range of RFC 9110, section 14.
#include "server/http/range.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "common/error.h"

namespace wring {
namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<ByteRange> parse_range(std::string_view text, std::uint64_t size) {
  constexpr std::string_view unit = "bytes=";
  if (!text.starts_with(unit)) return std::nullopt;
  text.remove_prefix(unit.size());
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1));
  ByteRange range{0, size};
  if (dash == 0) {
    if (!last) return std::nullopt;
    range.from = size - std::min(*last, size);
  } else {
    if (!first || (!last && dash + 1 != text.size()) || (last && *last < *first)) return std::nullopt;
    range.from = *first;
    if (last && *last < size) range.to = *last + 1;
  }
  if (range.from >= range.to)
    throw Error(ErrorCode::kOutOfRange, "RANGE_NOT_SATISFIABLE",
                "the file has " + std::to_string(size) + " bytes", "Range",
                "bytes */" + std::to_string(size));
  return range;
}

}  // namespace wring

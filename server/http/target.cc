// Percent encoding, and the pairs of a query.
#include "server/http/target.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "common/error.h"

namespace wring {
namespace {

// In a query, a plus is a space.
std::string decode_percent(std::string_view text, bool query = true) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += query && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

std::string Target::get(const std::string& key) const {
  const auto it = query.find(key);
  return it == query.end() ? "" : it->second;
}

std::uint64_t Target::number(const std::string& key, std::uint64_t fallback) const {
  const auto text = get(key);
  if (text.empty()) return fallback;
  std::uint64_t value = 0;
  const auto [rest, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || rest != text.data() + text.size() || value > 1'000'000'000'000)
    throw Error(ErrorCode::kInvalidArgument, "BAD_QUERY", "'" + text.substr(0, 40) + "' is no whole number",
                key);
  return value;
}

int Target::page_size() const {
  return static_cast<int>(std::min<std::uint64_t>(number("page_size", 0), 1000));
}

Target parse_target(const std::string& raw) {
  Target target;
  const auto mark = raw.find('?');
  target.path = decode_percent(raw.substr(0, mark), false);
  for (std::size_t at = mark; at != std::string::npos && at + 1 < raw.size();) {
    const auto end = raw.find('&', at + 1);
    const auto pair = raw.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    const auto equals = pair.find('=');
    target.query[decode_percent(pair.substr(0, equals))] =
        equals == std::string::npos ? "" : decode_percent(pair.substr(equals + 1));
    at = end;
  }
  return target;
}

}  // namespace wring

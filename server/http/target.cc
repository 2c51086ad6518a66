// Percent encoding, and the pairs of a query.
#include "server/http/target.h"

#include <charconv>
#include <string_view>

#include "common/error.h"
#include "common/json.h"

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

std::string utf8(std::string text) {
  try {
    (void)Json(text).dump();  // throws of what is none
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_QUERY", "the address holds bytes that are no UTF-8");
  }
  return text;
}

}  // namespace

Target parse_target(const std::string& raw) {
  Target target;
  const auto mark = raw.find('?');
  target.path = utf8(decode_percent(raw.substr(0, mark), false));
  for (std::size_t at = mark; at != std::string::npos && at + 1 < raw.size();) {
    const auto end = raw.find('&', at + 1);
    const auto pair = raw.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    const auto equals = pair.find('=');
    if (!pair.empty())
      target.query.emplace_back(
          utf8(decode_percent(pair.substr(0, equals))),
          equals == std::string::npos ? "" : utf8(decode_percent(pair.substr(equals + 1))));
    at = end;
  }
  return target;
}

}  // namespace wring

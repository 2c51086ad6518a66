// Taking HOST:PORT apart.
#include "common/address.h"

#include <charconv>

#include "common/error.h"

namespace wring {

Address parse_address(const std::string& text, const std::string& field) {
  const auto colon = text.rfind(':');
  const char* const end = text.data() + text.size();
  Address address;
  if (colon != std::string::npos && colon > 0) {
    const auto [rest, failed] = std::from_chars(text.data() + colon + 1, end, address.port);
    address.host = text.substr(0, colon);
    if (failed == std::errc() && rest == end) return address;
  }
  throw Error(ErrorCode::kInvalidArgument, "BAD_ADDRESS", "'" + text + "' is not HOST:PORT", field,
              "For instance 127.0.0.1:7433.");
}

}  // namespace wring

// Taking HOST:PORT apart.
#include "common/address.h"

#include <arpa/inet.h>
#include <unistd.h>

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

bool is_loopback(const std::string& host) {
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  const std::string name = bracketed ? host.substr(1, host.size() - 2) : host;
  in_addr v4;
  in6_addr v6;
  if (::inet_pton(AF_INET, name.c_str(), &v4) == 1) return name.starts_with("127.");
  if (::inet_pton(AF_INET6, name.c_str(), &v6) == 1)
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
  return name == "localhost";
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

}  // namespace wring

// HOST:PORT as it is typed.
#pragma once

#include <cstdint>
#include <string>

namespace wring {

struct Address {
  std::string host;  // as typed: a name, 127.0.0.1, [::1]
  std::uint16_t port = 0;
};

// Throws Error(kInvalidArgument, "BAD_ADDRESS") that names `field` where host or port is missing or no
// number.
Address parse_address(const std::string& text, const std::string& field);

// Whether `host` (a name or an address, as parse_address() gives it) is this machine alone.
bool is_loopback(const std::string& host);

// This machine's name; empty where it has none.
std::string host_name();

}  // namespace wring

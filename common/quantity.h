// Numbers with units as people type them: 512MiB, 4GB, 90s, 2h.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace wring {

// "512MiB", "4gb", "1000": bytes. Units in any letter case: k M G T with or without B are powers of 1000, Ki
// Mi Gi Ti of 1024. Throws Error(kInvalidArgument, "BAD_QUANTITY") that names `flag`.
std::uint64_t parse_bytes(const std::string& text, const std::string& flag);

// "90s", "10m", "2h", "1d", "90": seconds. Throws as parse_bytes.
double parse_seconds(const std::string& text, const std::string& flag);

// For an option of the command line that holds bytes: turns what parse_bytes takes into plain digits.
CLI::Validator bytes_value();

// For an option of an unsigned type: refuses what CLI11 would wrap around ("-1") or cut ("1.5").
CLI::Validator whole_number();

}  // namespace wring

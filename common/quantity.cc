// Reading numbers with units.
#include "common/quantity.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>

#include "common/error.h"

namespace wring {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// A number with a unit behind it, times the unit's factor.
double scaled(const std::string& text, const std::string& flag, const std::map<std::string, double>& units,
              const char* hint) {
  double value = -1;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, value);
  const auto unit = units.find(lower(std::string(rest, end)));
  if (failed != std::errc() || unit == units.end() || !std::isfinite(value) || value < 0 ||
      value * unit->second > 9e18)
    throw Error(ErrorCode::kInvalidArgument, "BAD_QUANTITY", "cannot read '" + text + "'", flag, hint);
  return value * unit->second;
}

}  // namespace

std::uint64_t parse_bytes(const std::string& text, const std::string& flag) {
  static const auto kUnits = [] {
    std::map<std::string, double> units{{"", 1}, {"b", 1}};
    double decimal = 1, binary = 1;
    for (const std::string prefix : {"k", "m", "g", "t"}) {
      decimal *= 1000;
      binary *= 1024;
      units[prefix] = units[prefix + "b"] = decimal;
      units[prefix + "i"] = units[prefix + "ib"] = binary;
    }
    return units;
  }();
  return static_cast<std::uint64_t>(scaled(text, flag, kUnits, "Bytes, or with a unit: 512MiB, 4GB"));
}

double parse_seconds(const std::string& text, const std::string& flag) {
  static const std::map<std::string, double> kUnits{{"", 1},     {"s", 1},    {"m", 60},
                                                    {"min", 60}, {"h", 3600}, {"d", 86400}};
  return scaled(text, flag, kUnits, "Seconds, or with a unit: 90s, 10m, 2h");
}

CLI::Validator bytes_value() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        try {
          text = std::to_string(parse_bytes(text, ""));
          return "";
        } catch (const Error& error) {
          return error.message() + "; " + error.hint();
        }
      },
      "BYTES");
}

CLI::Validator whole_number() {
  return CLI::Validator(
      [](const std::string& text) -> std::string {
        std::uint64_t value = 0;
        const char* const end = text.data() + text.size();
        const auto [rest, failed] = std::from_chars(text.data(), end, value);
        if (failed == std::errc() && rest == end) return "";
        return "'" + text + "' is no whole number from 0 to 18446744073709551615";
      },
      "");
}

}  // namespace wring

// What is asked for: a request's target, taken apart.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace wring {

struct Target {
  std::string path;  // decoded
  std::map<std::string, std::string> query;

  std::string get(const std::string& key) const;  // empty: not given
  // Throws kInvalidArgument "BAD_QUERY".
  std::uint64_t number(const std::string& key, std::uint64_t fallback) const;
  int page_size() const;  // 0: not given
};

Target parse_target(const std::string& raw);

}  // namespace wring

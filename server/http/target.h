// What is asked for: a request's target, taken apart.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace wring {

struct Target {
  std::string path;                                        // decoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, as they were sent
};

// Throws kInvalidArgument "BAD_QUERY" where it is no UTF-8.
Target parse_target(const std::string& raw);

}  // namespace wring

// The one logger: spdlog to standard error, configured once a process.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "common/logger.h"

namespace wring {

// While it lives, each line that its thread logs as JSON has the member `name` with this id.
class LogScope {
 public:
  // `name`: a literal, "job" or "request".
  LogScope(const char* name, std::string id);
  ~LogScope();
  // Of the innermost scope of this thread with that name; empty: there is none.
  static std::string id_of(std::string_view name);
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;
};

}  // namespace wring

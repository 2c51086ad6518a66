// The process's logger.
#include "common/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include "common/error.h"

namespace wring {

void init_logging(const std::string& name, const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off")
    throw Error(ErrorCode::kInvalidArgument, "BAD_LOG_LEVEL", "'" + level + "' is no log level", "log-level",
                "One of trace, debug, info, warn, error, off.");
  spdlog::drop(name);
  spdlog::set_default_logger(spdlog::stderr_color_mt(name));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %n %^%l%$ %v");
  spdlog::set_level(parsed);
}

void log_warning(const std::string& message) {
  spdlog::warn("{}", message);
}

}  // namespace wring

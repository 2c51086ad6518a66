// The process's logger, for units that cannot see spdlog's headers (torch ships another fmt); all others
// include common/log.h.
#pragma once

#include <string>

namespace wring {

// Sets the process's logger: `name` in every line, `level` one of trace, debug, info, warn, error, off.
// `format`: "text", or "json": one object a line, with time (UTC), level, program, message, and the ids of
// the LogScopes around it. Throws Error(kInvalidArgument) for another level or format. Log lines never carry
// calibration text.
void init_logging(const std::string& name, const std::string& level = "info",
                  const std::string& format = "text");

void log_warning(const std::string& message);
void log_info(const std::string& message);

}  // namespace wring

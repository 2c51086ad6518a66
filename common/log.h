// The one logger: spdlog to standard error, configured once a process.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace wring {

// Sets the process's logger: `name` in every line, `level` one of trace, debug, info, warn, error, off.
// Throws Error(kInvalidArgument) for another level. Log lines never carry calibration text.
void init_logging(const std::string& name, const std::string& level = "info");

}  // namespace wring

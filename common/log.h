// The one logger: spdlog to standard error, configured once a process.
#pragma once

#include <spdlog/spdlog.h>

#include "common/logger.h"

// A sweep on its way to the server.
#pragma once

#include <cstdint>
#include <string>

#include "client/cli/context.h"

namespace wring {

struct SweepFlags {
  std::string sweep, name, project, device = "cpu", memory, max_runtime, request_id;
  std::uint32_t threads = 0, max_attempts = 0;
  std::int32_t priority = 0;
  bool wait = false, validate = false;
};

// Has the server check it, uploads the inputs that the store lacks, submits it.
v1::Sweep submit_sweep(CliContext& context, const SweepFlags& flags);

}  // namespace wring

// The verb sweep run: a sweep with a service of its own, on this machine or in an allocation of Slurm.
#pragma once

#include "client/cli/context.h"

namespace wring {

void add_sweep_run(CLI::App& sweep, CliContext& context);

}  // namespace wring

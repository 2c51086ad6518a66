// How many more workers the queue could use.
#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "server/scheduler/scheduler.h"

namespace wring {

// The jobs that could be leased now, that a worker like `like` could run, and that no worker is free for;
// workers of `pool` do not count as free: whoever has called them knows of them.
std::size_t unserved_jobs(const WorkerRecord& like, const std::set<std::string>& pool, TimeMs now,
                          const SchedulerState& state);

}  // namespace wring

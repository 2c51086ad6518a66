// How much of a machine's processor this process may use.
#pragma once

#include <string>

namespace wring {

// The cores that this process may run on (a batch job is often bound to some of them), or fewer where a
// control group (version 2) limits its processor time, as containers' do. At least 1.
int usable_cores();

// Whole cores of a cgroup's cpu.max, "QUOTA PERIOD" in microseconds, rounded up; 0: no limit, or no such
// text.
int cores_of_quota(const std::string& cpu_max);

}  // namespace wring

// What a graph's nodes cost, as the suites `size` and `latency` say it, for people.
#pragma once

#include <string>

#include "common/json.h"

namespace wring {

// The ten nodes that take most time (where nobody timed them: most multiply-adds), of the newest of the rows;
// each with what was measured of it: time, multiply-adds, parameters, and the bytes of values alive when it
// ends. Empty where the rows have nothing of nodes. `evaluations`: as in a job's JSON.
std::string node_table(const Json& evaluations);

}  // namespace wring

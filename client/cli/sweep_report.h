// Sweeps and trials as people and spreadsheets read them.
#pragma once

#include <string>
#include <vector>

#include "client/messages.h"

namespace wring {

std::string describe_sweep(const v1::Sweep& sweep);
// A row a trial: number, state, values, then the metrics of the objectives and constraints.
std::string trials_table(const std::vector<v1::Trial>& trials, const v1::Sweep& sweep);
// The same with every metric that any trial has, as SUITE/METRIC.
std::string trials_csv(const std::vector<v1::Trial>& trials, const v1::Sweep& sweep);

}  // namespace wring

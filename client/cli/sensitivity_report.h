// What a sensitivity job measured, as people and spreadsheets read it.
#pragma once

#include <string>

#include "common/json.h"

namespace wring {

// `table`: the details of the suite's row. A row a layer: its relative error at each level, and its KL.
std::string sensitivity_table(const Json& table);
// A line a layer and level.
std::string sensitivity_csv(const Json& table);

}  // namespace wring

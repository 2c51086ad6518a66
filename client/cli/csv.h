// Comma-separated values as --csv prints them.
#pragma once

#include <string>
#include <vector>

#include "common/json.h"

namespace wring {

// One line by RFC 4180, its end included: null is empty, text is quoted where it must be.
std::string csv_line(const std::vector<Json>& fields);

}  // namespace wring

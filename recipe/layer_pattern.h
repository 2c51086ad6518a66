// Whether a layer pattern can be used, without a layer at hand; pattern_matches() of recipe.h uses it.
#pragma once

#include <string>

namespace wring {

// Throws Error(kInvalidArgument, "BAD_PATTERN") where `pattern` is a re:PATTERN that does not compile.
void check_layer_pattern(const std::string& pattern);

}  // namespace wring

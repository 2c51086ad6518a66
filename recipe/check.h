// Checks of one value, one list or one set of parameters, with errors that name path, value, range and line.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "recipe/spec.h"

namespace wring {

// Where a value came from, for the errors about it.
struct Source {
  std::string what = "recipe";
  std::map<std::string, int> lines;  // path -> line, from 1; empty where lines mean nothing

  // Throws Error(code) about `field`, with the line of the nearest enclosing value in the hint's last line.
  [[noreturn]] void fail(const char* reason, const std::string& field, const std::string& message,
                         std::string hint = {}, ErrorCode code = ErrorCode::kInvalidArgument) const;
};

// A value as an error shows it: JSON, at most 80 bytes.
std::string shown(const Json& value);

// "parent.key", the key at most 80 bytes.
std::string member(const std::string& parent, const std::string& key);

// The values that `parameter` takes, as a person reads them: "-1 to 65536", "one of 2, 3, 4", "true or
// false".
std::string allowed_values(const ParameterSpec& parameter);

// The value in its normal form (4.0 is 4 for an integer, 4 is 4.0 for a number, "02:04" is "2:4"). Throws
// WRONG_TYPE or OUT_OF_RANGE.
Json check_value(const Json& value, const ParameterSpec& parameter, const std::string& field,
                 const Source& source);

// All parameters of `spec`, defaults filled in. Throws UNKNOWN_PARAMETER, MISSING_PARAMETER or what
// check_value does.
Json check_params(const Json& given, const MethodSpec& spec, const std::string& field, const Source& source);

// Throws UNKNOWN_KEY for the first key of `object` that is not `allowed`.
void check_keys(const Json& object, const std::vector<std::string>& allowed, const std::string& field,
                const Source& source);

// The string under `key`, or "" where there is none. Throws WRONG_TYPE.
std::string string_or_empty(const Json& object, const char* key, const std::string& field,
                            const Source& source);

// The whole number under `key`, or `fallback` where there is none. Throws OUT_OF_RANGE.
std::uint64_t whole_of(const Json& object, const char* key, std::uint64_t fallback, std::uint64_t least,
                       std::uint64_t most, const std::string& field, const Source& source);

}  // namespace wring

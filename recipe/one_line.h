// The one-line form of stages: gptq(bits=4, group_size=64) | rtn(bits=8, targets=Embedding).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"

namespace wring {

// Whether a recipe's text is the one-line form: one line that begins with a word, followed by '(' or '|' or
// nothing.
bool looks_like_one_line(std::string_view text);

// The calls of a line, cut at '|' outside of brackets and quotes.
std::vector<std::string> split_calls(std::string_view text);

// One call as {KIND: name, "params": {...}}, with targets, ignore and when lifted out of the parameters.
// Values are plain scalars, quoted strings, N:M patterns or [lists]. Throws Error(kInvalidArgument,
// "MALFORMED_RECIPE") naming `field` and the column.
Json parse_call(const std::string& text, const std::string& field, const char* kind);

}  // namespace wring

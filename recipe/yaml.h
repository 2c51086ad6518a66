// YAML from outside, bounded, as JSON with the line of every value.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/json.h"

namespace wring {

struct YamlDocument {
  Json value;
  std::map<std::string, int> lines;  // path ("stages[1].params.bits") -> line, from 1
};

// Parses one YAML document (JSON is YAML). At most 1 MiB of UTF-8, nesting at most 32, 100,000 values, keys
// of 256 bytes; no anchors, aliases, tags or duplicate keys. Plain scalars become null, booleans, integers,
// numbers or strings as in YAML 1.2; quoted ones stay strings. Throws Error(kInvalidArgument,
// "MALFORMED_RECIPE") about the field `what`, with the line in the hint.
YamlDocument parse_yaml(std::string_view text, const std::string& what);

// Throws Error(kInvalidArgument, "MALFORMED_RECIPE") where `text` is no UTF-8 or has control characters.
void check_text(std::string_view text, const std::string& what);

// A plain scalar's value by the same rules.
Json plain_scalar(const std::string& text);

}  // namespace wring

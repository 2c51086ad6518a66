// The space of a sweep: what its trials differ in, and the point of it that numbers in [0, 1) stand for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "recipe/check.h"

namespace wring {

// One thing that differs: a list of values, or a range that has no end of them.
struct Dimension {
  std::string path;          // as it is written: "stages[0].params.bits", "model", "data.calibration"
  std::vector<Json> values;  // empty: the range
  bool ordered = true;       // whether a value between two others means something
  double low = 0, high = 0;  // of a range, both within it
  bool log = false;          // equal shares for equal ratios
  bool whole = false;        // whole numbers alone

  // The value at `at` in [0, 1).
  Json value(double at) const;
  // The middle of the share of [0, 1) that has the same value, so that one value has one number; `at` itself
  // in a range.
  double snapped(double at) const;
};

// One number in [0, 1) for each dimension.
using Coordinates = std::vector<double>;

struct Space {
  std::vector<Dimension> dimensions;

  // Points in it, at most 2^53; nullopt: endless.
  std::optional<std::uint64_t> size() const;
  std::vector<Json> values(const Coordinates& at) const;
  Coordinates snapped(Coordinates at) const;
  // Point `n` of size(), the last dimension changing first.
  Coordinates point(std::uint64_t n) const;
};

// A mapping of paths to [values] or {low, high, step or log}. Throws Error(kInvalidArgument) with reason
// EMPTY_SPACE, WRONG_TYPE, OUT_OF_RANGE or UNKNOWN_KEY about the field below `field`.
Space parse_space(const Json& json, const std::string& field, const Source& source);

}  // namespace wring

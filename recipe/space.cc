// Ranges and lists.
#include "recipe/space.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "recipe/utf8.h"

namespace wring {
namespace {

constexpr std::size_t kMaxValues = 100'000, kMaxDimensions = 100;
constexpr double kMostPoints = 9007199254740992.0;  // 2^53

std::size_t index_of(double at, std::size_t count) {
  return std::min(count - 1, static_cast<std::size_t>(at * static_cast<double>(count)));
}

double number_of(const Json& json, const char* key, const std::string& field, const Source& source) {
  const std::string path = member(field, key);
  if (!json.contains(key))
    source.fail("MISSING_PARAMETER", path, "a range needs it",
                "Write {low: 0.1, high: 0.9} or a list of values.");
  if (!json.at(key).is_number()) source.fail("WRONG_TYPE", path, shown(json.at(key)) + " is no number");
  const double value = json.at(key).get<double>();
  if (!std::isfinite(value)) source.fail("OUT_OF_RANGE", path, shown(json.at(key)) + " is not finite");
  return value;
}

bool is_whole(const Json& json, const char* key) {
  return json.at(key).is_number_integer();
}

Json number(double value, bool whole) {
  return whole ? Json(static_cast<std::int64_t>(std::llround(value))) : Json(value);
}

// The values of a range that has finitely many.
std::vector<Json> stepped(double low, double high, double step, bool whole, const std::string& field,
                          const Source& source) {
  const double count = std::floor((high - low) / step * (1 + 1e-12) + 1e-9) + 1;
  if (count > static_cast<double>(kMaxValues))
    source.fail("OUT_OF_RANGE", field, "it has more than 100,000 values",
                "Take a larger step, or log: true.");
  std::vector<Json> values;
  for (double i = 0; i < count; ++i) values.push_back(number(std::min(high, low + i * step), whole));
  return values;
}

Dimension parse_range(const Json& json, const std::string& field, const Source& source) {
  check_keys(json, {"low", "high", "step", "log"}, field, source);
  Dimension d;
  d.low = number_of(json, "low", field, source);
  d.high = number_of(json, "high", field, source);
  d.whole = is_whole(json, "low") && is_whole(json, "high");
  if (json.contains("log") && !json.at("log").is_boolean())
    source.fail("WRONG_TYPE", field + ".log", shown(json.at("log")) + " is neither true nor false");
  d.log = json.contains("log") && json.at("log").get<bool>();
  if (d.low > d.high)
    source.fail("EMPTY_SPACE", field,
                "no number is at least " + shown(json.at("low")) + " and at most " + shown(json.at("high")),
                "Exchange low and high.");
  if (d.log && d.low <= 0)
    source.fail("OUT_OF_RANGE", field + ".low",
                shown(json.at("low")) + " has no logarithm; allowed: above 0");
  if (!json.contains("step")) {
    if (d.whole && !d.log) d.values = stepped(d.low, d.high, 1, true, field, source);
    return d;
  }
  const double step = number_of(json, "step", field, source);
  if (d.log) source.fail("OUT_OF_RANGE", field, "step and log exclude each other", "Leave one of them out.");
  if (!(step > 0)) source.fail("OUT_OF_RANGE", field + ".step", shown(json.at("step")) + " is not above 0");
  d.whole = d.whole && is_whole(json, "step");
  d.values = stepped(d.low, d.high, step, d.whole, field, source);
  return d;
}

Dimension parse_list(const Json& json, const std::string& field, const Source& source) {
  Dimension d;
  d.values.assign(json.begin(), json.end());
  if (d.values.empty())
    source.fail("EMPTY_SPACE", field, "an empty list of values leaves nothing to try",
                "Give at least one value.");
  if (d.values.size() > kMaxValues)
    source.fail("OUT_OF_RANGE", field, "it has more than 100,000 values",
                "Write a range: {low, high, log: true}.");
  std::set<std::string> seen;
  for (std::size_t i = 0; i < d.values.size(); ++i)
    if (!seen.insert(d.values[i].dump()).second)
      source.fail("OUT_OF_RANGE", field + "[" + std::to_string(i) + "]",
                  shown(d.values[i]) + " stands there twice", "Give each value once.");
  d.ordered = std::all_of(d.values.begin(), d.values.end(), [](const Json& v) { return v.is_number(); }) &&
              std::is_sorted(d.values.begin(), d.values.end());
  return d;
}

}  // namespace

Json Dimension::value(double at) const {
  if (!values.empty()) return values[index_of(at, values.size())];
  double value = log ? low * std::pow(high / low, at) : low + at * (high - low);
  if (whole) value = log ? std::round(value) : std::floor(low + at * (high - low + 1));
  return number(std::clamp(value, low, high), whole);
}

double Dimension::snapped(double at) const {
  if (values.empty()) return at;
  const auto count = values.size();
  return (static_cast<double>(index_of(at, count)) + 0.5) / static_cast<double>(count);
}

std::optional<std::uint64_t> Space::size() const {
  double points = 1;
  for (const auto& d : dimensions) {
    if (d.values.empty()) return std::nullopt;
    points *= static_cast<double>(d.values.size());
  }
  return static_cast<std::uint64_t>(std::min(points, kMostPoints));
}

std::vector<Json> Space::values(const Coordinates& at) const {
  std::vector<Json> values;
  for (std::size_t i = 0; i < dimensions.size(); ++i) values.push_back(dimensions[i].value(at[i]));
  return values;
}

Coordinates Space::snapped(Coordinates at) const {
  for (std::size_t i = 0; i < dimensions.size(); ++i) at[i] = dimensions[i].snapped(at[i]);
  return at;
}

Coordinates Space::point(std::uint64_t n) const {
  Coordinates at(dimensions.size());
  for (std::size_t i = dimensions.size(); i-- > 0;) {
    const std::uint64_t count = dimensions[i].values.size();
    at[i] = (static_cast<double>(n % count) + 0.5) / static_cast<double>(count);
    n /= count;
  }
  return at;
}

Space parse_space(const Json& json, const std::string& field, const Source& source) {
  if (!json.is_object())
    source.fail("WRONG_TYPE", field, shown(json) + " is no mapping of paths to values",
                "For instance:\nspace:\n  stages[0].params.bits: [3, 4, 8]");
  if (json.empty())
    source.fail("EMPTY_SPACE", field, "a space without a dimension has nothing to try",
                "For instance:\nspace:\n  stages[0].params.bits: [3, 4, 8]");
  if (json.size() > kMaxDimensions)
    source.fail("OUT_OF_RANGE", field,
                std::to_string(json.size()) + " dimensions are too many; allowed: at most 100");
  Space space;
  for (const auto& [path, value] : json.items()) {
    const std::string at = member(field, path);
    if (!value.is_array() && !value.is_object())
      source.fail("WRONG_TYPE", at, shown(value) + " is neither a list nor a range",
                  "Write [3, 4] or {low: 3, high: 4}.");
    space.dimensions.push_back(value.is_array() ? parse_list(value, at, source)
                                                : parse_range(value, at, source));
    space.dimensions.back().path = path;
  }
  return space;
}

}  // namespace wring

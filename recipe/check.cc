// Values against their specs.
#include "recipe/check.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>
#include <utility>

#include "common/text.h"
#include "recipe/levels.h"
#include "recipe/recipe.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

// "Did you mean 'bits'? ", or nothing where no name is near.
std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  const auto nearest = nearest_name(name, known);
  return nearest.empty() ? "" : "Did you mean '" + nearest + "'? ";
}

std::vector<std::string> choice_names(const ParameterSpec& parameter) {
  std::vector<std::string> names;
  for (const auto& choice : parameter.choices)
    names.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
  return names;
}

std::string bound_text(double bound) {
  return Json(bound == std::floor(bound) && std::abs(bound) < 1e15 ? Json(static_cast<std::int64_t>(bound))
                                                                   : Json(bound))
      .dump();
}

std::string with_unit(const ParameterSpec& parameter) {
  return parameter.unit.empty() ? "" : " (" + parameter.unit + ")";
}

// A whole number, also where it is written as 4.0 or 1e3; nullopt for anything else or above 2^53.
std::optional<std::int64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::floor(number) != number || std::abs(number) > 9007199254740992.0) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

Json check_sparsity(const Json& value, const ParameterSpec& p, const std::string& field,
                    const Source& source) {
  if (!value.is_number() && !value.is_string())
    source.fail("WRONG_TYPE", field, shown(value) + " is not " + allowed_values(p), p.name + ": " + p.help);
  try {
    const auto pattern = SparsityPattern::parse(value, field);
    if (pattern.m == 0) return pattern.share;
    return std::to_string(pattern.n) + ":" + std::to_string(pattern.m);
  } catch (const Error& e) {
    source.fail(e.reason().c_str(), field, e.message(), e.hint());
  }
}

// One number, a list of them, or their text with commas between, in brackets or not: as a list.
std::optional<Json> numbers_of(const Json& value) {
  constexpr std::size_t kMost = 64;
  Json given = value.is_array() ? value : Json::array({value});
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    given = Json::parse(text.starts_with("[") ? text : "[" + text + "]", nullptr, false);
  }
  if (given.is_discarded() || given.empty() || given.size() > kMost) return std::nullopt;
  Json list = Json::array();
  for (const auto& number : given) {
    if (!number.is_number()) return std::nullopt;
    list.push_back(number.get<double>() + 0.0);
  }
  return std::make_optional<Json>(std::move(list));
}

Json check_type(const Json& value, const ParameterSpec& p, const std::string& field, const Source& source) {
  const auto wrong = [&](const std::string& wanted) {
    source.fail("WRONG_TYPE", field,
                shown(value) + " is not " + wanted +
                    (p.type == "boolean" ? "" : "; allowed: " + allowed_values(p) + with_unit(p)),
                p.name + ": " + p.help);
  };
  if (p.type == "integer") {
    const auto whole = whole_number(value);
    if (!whole) wrong("a whole number");
    return *whole;
  }
  if (p.type == "number") {
    if (!value.is_number()) wrong("a number");
    return value.get<double>() + 0.0;  // -0.0 is 0.0
  }
  if (p.type == "numbers") {
    const auto list = numbers_of(value);
    if (!list) wrong("a number or a list of numbers");
    return *list;
  }
  if (p.type == "boolean" && !value.is_boolean()) wrong("true or false");
  if (p.type == "string" && !value.is_string()) wrong("a string (quote it)");
  if (p.type == "data" && !value.is_string()) wrong("the name of a data input");
  if (p.type == "sparsity-pattern") return check_sparsity(value, p, field, source);
  if (p.type == "stages") return check_levels(value, field, source);
  if (p.type == "stage" && !value.is_string()) {
    const auto whole = whole_number(value);
    if (!whole || *whole < 0) wrong("a method's name or a stage's index");
    return static_cast<std::uint64_t>(*whole);
  }
  return value;
}

}  // namespace

void Source::fail(const char* reason, const std::string& field, const std::string& message, std::string hint,
                  ErrorCode code) const {
  for (std::string path = field; !lines.empty();) {
    if (const auto it = lines.find(path); it != lines.end()) {
      if (!hint.empty()) hint += "\n";
      hint += what + " line " + std::to_string(it->second);
      break;
    }
    if (path.empty()) break;
    const auto cut = path.find_last_of(".[");
    path = cut == std::string::npos ? "" : path.substr(0, cut);
  }
  throw Error(code, reason, message, field, hint);
}

std::string shown(const Json& value) {
  return shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace), 80);
}

std::string member(const std::string& parent, const std::string& key) {
  return (parent.empty() ? "" : parent + ".") + shortened(key, 80);
}

std::string allowed_values(const ParameterSpec& p) {
  if (!p.choices.empty()) return "one of " + join(choice_names(p), ", ");
  if (p.minimum && p.maximum)
    return bound_text(*p.minimum) + " to " + bound_text(*p.maximum) +
           (p.excluded ? " but " + bound_text(*p.excluded) : "");
  if (p.minimum) return "at least " + bound_text(*p.minimum);
  if (p.maximum) return "at most " + bound_text(*p.maximum);
  if (p.type == "integer") return "any whole number";
  if (p.type == "number") return "any number";
  if (p.type == "numbers") return "numbers";
  if (p.type == "boolean") return "true or false";
  if (p.type == "sparsity-pattern") return "a share above 0 and below 1 (0.5), or N:M (2:4)";
  if (p.type == "stages") return "a list of stages, or one line of them";
  if (p.type == "stage") return "input, or an earlier stage by its method or its index, from 0";
  if (p.type == "data") return "1 to 64 letters, digits, '-' or '_'";
  return "any string";
}

std::string lowered(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// The choice that was meant, as the spec writes it: its letters may be of either case.
Json as_chosen(const Json& value, const std::vector<Json>& choices) {
  const auto same = [&](const Json& choice) {
    return choice.is_string() && lowered(choice.get<std::string>()) == lowered(value.get<std::string>());
  };
  if (!value.is_string() || std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  const auto found = std::find_if(choices.begin(), choices.end(), same);
  return found == choices.end() ? value : *found;
}

Json check_value(const Json& given, const ParameterSpec& p, const std::string& field, const Source& source) {
  const auto& choices = p.choices;
  const Json value = as_chosen(check_type(given, p, field, source), choices);
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end())
    source.fail("OUT_OF_RANGE", field,
                shown(given) + " is not allowed; it is " + allowed_values(p) + with_unit(p),
                (value.is_string() ? did_you_mean(value.get<std::string>(), choice_names(p)) : "") + p.name +
                    ": " + p.help);
  const auto outside = [&](const Json& number) {
    return number.is_number() && ((p.minimum && number.get<double>() < *p.minimum) ||
                                  (p.maximum && number.get<double>() > *p.maximum) ||
                                  (p.excluded && number.get<double>() == *p.excluded));
  };
  if (value.is_array() && p.type == "numbers" ? std::any_of(value.begin(), value.end(), outside)
                                              : outside(value))
    source.fail("OUT_OF_RANGE", field,
                shown(given) + " is out of range; allowed: " + allowed_values(p) + with_unit(p),
                p.name + ": " + p.help);
  if (p.type == "data" && !is_data_name(value.get<std::string>()))
    source.fail("OUT_OF_RANGE", field, shown(given) + " is no name of a data input",
                "A name has " + allowed_values(p) + "; the path follows it: --data NAME=PATH.");
  return value;
}

Json check_params(const Json& given, const MethodSpec& spec, const std::string& field, const Source& source) {
  if (!given.is_object())
    source.fail("WRONG_TYPE", field, shown(given) + " is no mapping of names to values",
                "Write params: {name: value, ...}.");
  std::vector<std::string> names;
  for (const auto& p : spec.parameters) names.push_back(p.name);
  for (const auto& [key, value] : given.items())
    if (!spec.parameter(key))
      source.fail(
          "UNKNOWN_PARAMETER", member(field, key),
          spec.name + " has no parameter '" + shortened(key, 80) + "'",
          did_you_mean(key, names) + (names.empty() ? "It has none." : "It has: " + join(names, ", ") + "."));
  Json params = Json::object();
  for (const auto& p : spec.parameters) {
    const auto it = given.find(p.name);
    if (it == given.end() && p.default_value.is_null())
      source.fail("MISSING_PARAMETER", field + "." + p.name, spec.name + " needs '" + p.name + "'",
                  p.name + " is " + allowed_values(p) + with_unit(p) + ": " + p.help);
    params[p.name] = check_value(it == given.end() ? p.default_value : *it, p, field + "." + p.name, source);
  }
  if (params.contains("window") && params.contains("stride") && params["stride"] > params["window"])
    source.fail("OUT_OF_RANGE", field + ".stride", "a stride above the window leaves text out",
                "At most " + params["window"].dump() + ", the window.");
  return params;
}

void check_keys(const Json& object, const std::vector<std::string>& allowed, const std::string& field,
                const Source& source) {
  for (const auto& [key, value] : object.items())
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      source.fail("UNKNOWN_KEY", member(field, key), "unknown key '" + shortened(key, 80) + "'",
                  did_you_mean(key, allowed) + "Known here: " + join(allowed, ", ") + ".");
}

std::string string_or_empty(const Json& object, const char* key, const std::string& field,
                            const Source& source) {
  if (!object.contains(key)) return "";
  if (!object.at(key).is_string())
    source.fail("WRONG_TYPE", member(field, key), shown(object.at(key)) + " is no string", "Quote it.");
  return object.at(key).get<std::string>();
}

std::uint64_t whole_of(const Json& json, const char* key, std::uint64_t fallback, std::uint64_t least,
                       std::uint64_t most, const std::string& field, const Source& source) {
  if (!json.contains(key)) return fallback;
  const Json& value = json.at(key);
  const bool whole =
      value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
  if (!whole || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most)
    source.fail(
        "OUT_OF_RANGE", member(field, key),
        shown(value) + " is not allowed; allowed: " + std::to_string(least) + " to " + std::to_string(most));
  return value.get<std::uint64_t>();
}

}  // namespace wring

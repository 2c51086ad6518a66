// The one JSON type, and bounded parsing of JSON that came from outside.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

namespace wring {

using Json = nlohmann::json;  // objects keep their keys sorted, so dump() is canonical

// Parses `text`. Throws Error(kInvalidArgument, "MALFORMED_JSON") that names `what` and the byte offset;
// nesting deeper than `max_depth` is refused before anything is built.
Json parse_json(std::string_view text, std::string_view what, int max_depth = 64);

// A required member of `object`, as T (an integer is not cut to fit). Throws Error(kInvalidArgument) that
// names `what` and the key.
template <typename T>
T json_at(const Json& object, const char* key, std::string_view what);

// A member of `object`, as T, or `fallback` where the key is absent or null.
template <typename T>
T json_or(const Json& object, const char* key, T fallback, std::string_view what = "json");

[[noreturn]] void throw_json_member(std::string_view what, const char* key, const char* why);

template <typename T>
T json_at(const Json& object, const char* key, std::string_view what) {
  if (!object.is_object()) throw_json_member(what, key, "is looked up in something that is no object");
  const auto it = object.find(key);
  if (it == object.end()) throw_json_member(what, key, "is missing");
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    const bool fits = it->is_number_unsigned()  ? std::in_range<T>(it->template get<std::uint64_t>())
                      : it->is_number_integer() ? std::in_range<T>(it->template get<std::int64_t>())
                                                : false;
    if (!fits) throw_json_member(what, key, "is no integer, or out of range");
  }
  try {
    return it->get<T>();
  } catch (const Json::exception& e) {
    throw_json_member(what, key, e.what());
  }
}

template <typename T>
T json_or(const Json& object, const char* key, T fallback, std::string_view what) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return fallback;
  return json_at<T>(object, key, what);
}

}  // namespace wring

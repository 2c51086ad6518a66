// Bounded parsing of JSON that came from outside.
#include "common/json.h"

#include <string>

#include "common/error.h"

namespace wring {

Json parse_json(std::string_view text, std::string_view what, int max_depth) {
  const auto limit_depth = [&](int depth, Json::parse_event_t event, Json&) {
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= max_depth)
      throw Error(ErrorCode::kInvalidArgument, "MALFORMED_JSON",
                  std::string(what) + " nests deeper than " + std::to_string(max_depth) + " levels");
    return true;
  };
  try {
    return Json::parse(text, limit_depth);
  } catch (const Json::parse_error& e) {
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_JSON",
                std::string(what) + " is not JSON: error at byte " + std::to_string(e.byte));
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_JSON",
                std::string(what) + " is not JSON: " + e.what());
  }
}

void throw_json_member(std::string_view what, const char* key, const char* why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_MEMBER", std::string(what) + ": member '" + key + "' " + why,
              key);
}

}  // namespace wring

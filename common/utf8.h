// Text from elsewhere, made fit for protobuf and JSON, which carry nothing but UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "common/json.h"

namespace wring {

// The same text, with U+FFFD where it is no UTF-8.
inline std::string valid_utf8(std::string_view text) {
  const Json json = std::string(text);
  return Json::parse(json.dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

}  // namespace wring

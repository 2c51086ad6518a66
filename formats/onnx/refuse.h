// The two refusals of the ONNX reader.
#pragma once

#include <string>

#include "common/error.h"

namespace wring {

[[noreturn]] inline void bad_onnx(const std::string& field, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_ONNX", why, field);
}

[[noreturn]] inline void unsupported_onnx(const std::string& field, const std::string& what,
                                          const std::string& supported) {
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_ONNX", what, field, supported);
}

}  // namespace wring

// What a call throws.
#pragma once

#include <gtest/gtest.h>

#include "common/error.h"

namespace wring {

// The Error that `body` throws; fails where it throws none.
template <typename Body>
Error thrown_by(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kUnknown, "NOTHING_THROWN", "");
}

}  // namespace wring

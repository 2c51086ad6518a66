// An error as a job carries it.
#pragma once

#include <cstdint>
#include <string>

#include "common/error.h"
#include "wring/v1/jobs.pb.h"

namespace wring {

// `step`: where it happened; -1: before or after all steps.
inline v1::ErrorDetail to_detail(const Error& error, std::int32_t step = -1) {
  v1::ErrorDetail detail;
  detail.set_code(std::string(to_string(error.code())));
  detail.set_reason(error.reason());
  detail.set_message(error.message());
  detail.set_field(error.field());
  detail.set_hint(error.hint());
  detail.set_stage(step);
  return detail;
}

}  // namespace wring

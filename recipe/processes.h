// In how many processes a job may run.
#pragma once

#include <cstdint>
#include <string>

#include "common/error.h"

namespace wring {

// Calibration sets are cut into so many parts, and each process takes as many of them.
inline constexpr int kParts = 8;

// 0 is 1. Throws Error(kInvalidArgument, "OUT_OF_RANGE") naming `field`.
inline int checked_processes(std::uint32_t processes, const std::string& field) {
  if (processes == 0) return 1;
  if (processes > kParts || kParts % processes != 0)
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                "a job has 1, 2, 4 or 8 processes, not " + std::to_string(processes), field,
                "Its calibration set is cut into 8 parts, and each process takes as many of them.");
  return static_cast<int>(processes);
}

}  // namespace wring

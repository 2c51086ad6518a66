// What the reps share: rows decoded in parallel into a tensor of any dtype, and the error of a rep that does
// not fit.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <string>

#include "common/error.h"

namespace wring {

// [rows, columns] of `dtype` on `device`. decode(row, out) writes one row's `columns` fp32 values; it is
// called from several threads, for different rows.
template <typename DecodeRow>
at::Tensor fill_rows(std::int64_t rows, std::int64_t columns, at::ScalarType dtype, at::Device device,
                     const DecodeRow& decode) {
  constexpr std::int64_t kChunkElements = 1 << 14;  // of fp32 scratch: stays in the cache
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkElements / std::max<std::int64_t>(1, columns));
  at::Tensor values = at::empty({rows, columns}, at::device(at::kCPU).dtype(dtype));
  const bool direct = dtype == at::kFloat;
  const bool inference = c10::InferenceMode::is_enabled();  // a property of threads: the others must be told
  at::parallel_for(0, rows, chunk, [&](std::int64_t begin, std::int64_t end) {
    if (direct) {
      float* out = values.data_ptr<float>();
      for (std::int64_t row = begin; row < end; ++row) decode(row, out + row * columns);
      return;
    }
    const c10::InferenceMode guard(inference);
    const at::Tensor scratch = at::empty({chunk, columns}, at::kFloat);
    float* out = scratch.data_ptr<float>();
    for (std::int64_t first = begin; first < end; first += chunk) {
      const std::int64_t count = std::min(chunk, end - first);
      for (std::int64_t i = 0; i < count; ++i) decode(first + i, out + i * columns);
      values.narrow(0, first, count).copy_(scratch.narrow(0, 0, count));
    }
  });
  return values.to(device);
}

[[noreturn]] inline void throw_bad_weight_rep(const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP", why);
}

inline bool is_value_dtype(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

}  // namespace wring

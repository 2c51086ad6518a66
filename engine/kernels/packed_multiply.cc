// Codes times fp32 vectors: widened in registers.
#include "engine/kernels/packed_multiply.h"

#include "engine/kernels/multiversion.h"

namespace wring {

WRING_MULTIVERSION
float multiply_row(const std::uint8_t* codes, const float* scales, const std::uint8_t* zeros,
                   std::int64_t groups, std::int64_t group_size, const float* x, const float* group_sums) {
  float total = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::uint8_t* c = codes + g * group_size;
    const float* v = x + g * group_size;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t i = 0; i < group_size; ++i) dot += v[i] * static_cast<float>(static_cast<int>(c[i]));
    total += scales[g] * (dot - static_cast<float>(zeros[g]) * group_sums[g]);
  }
  return total;
}

}  // namespace wring

// Dot products of small integer codes with fp32 vectors, group by group.
#pragma once

#include <cstdint>

namespace wring {

// sum over groups of scales[g] * (dot(codes of g, x of g) - zeros[g] * group_sums[g]), that is the dot
// product of x with the row (code - zero) * scale. codes, x [groups * group_size]; scales, zeros, group_sums
// (of x) [groups].
float multiply_row(const std::uint8_t* codes, const float* scales, const std::uint8_t* zeros,
                   std::int64_t groups, std::int64_t group_size, const float* x, const float* group_sums);

}  // namespace wring

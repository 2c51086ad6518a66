// Rows whose values are small sums of products under signs of their own, one bit each.
#pragma once

#include <cstdint>

namespace wring {

// out[j] += s_j * sum over k of u[k] * v[k * columns + j], s_j = -1 where bit j % 8 of byte j / 8 of
// `negative` is set, else 1. u [rank], v [rank, columns].
void add_signed_row(const std::uint8_t* negative, const float* u, const float* v, std::int64_t rank,
                    std::int64_t columns, float* out);

// sums[r * rank + k] = sum over j of s_rj * z[k * columns + j], for four rows r whose signs s_r begin
// `row_bytes` apart. z [rank, columns]; totals [rank]: its rows' sums without signs.
void signed_sums_of_four_rows(const std::uint8_t* negative, std::int64_t row_bytes, const float* z,
                              const float* totals, std::int64_t rank, std::int64_t columns, float* sums);

}  // namespace wring

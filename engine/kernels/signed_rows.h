// Rows whose values are small sums of products under signs of their own, one bit each.
#pragma once

#include <cstdint>

namespace wring {

// out[j] += s_j * sum over k of u[k] * v[k * columns + j], s_j = -1 where bit j % 8 of byte j / 8 of
// `negative` is set, else 1. u [rank], v [rank, columns].
void add_signed_row(const std::uint8_t* negative, const float* u, const float* v, std::int64_t rank,
                    std::int64_t columns, float* out);

// How many floats subset_sums() writes.
std::int64_t subset_sum_count(std::int64_t rank, std::int64_t columns);

// For signed_sums(): of z [rank, columns] the eight sums there are of each three columns.
void subset_sums(const float* z, std::int64_t rank, std::int64_t columns, float* subsets);

// sums[(r / 8 * rank + k) * 8 + r % 8] = sum over j of s_rj * z_kj, for rows r, a multiple of eight, whose
// signs s_r begin `row_bytes` apart, one bit a column. `subsets` are subset_sums() of z; totals [rank]: its
// rows' sums without signs.
void signed_sums(const std::uint8_t* negative, std::int64_t row_bytes, std::int64_t rows,
                 const float* subsets, const float* totals, std::int64_t rank, float* sums);

}  // namespace wring

// Dot products of rows of packed integers with fp32 vectors: no row is unpacked to memory.
#pragma once

#include <cstdint>

namespace wring {

inline constexpr std::int64_t kPackedQuarter = 16;     // neighbours that have one scale
inline constexpr std::int64_t kPackedBlock = 16 * 4;   // codes that sixteen lanes hold
inline constexpr std::int64_t kMostPackedVectors = 4;  // that a row is multiplied with at once

struct PackedRow {
  int bits;                         // 1 .. 8
  std::int64_t groups, group_size;  // group_size is a multiple of kPackedQuarter
  const std::uint8_t* codes;        // as pack_bits() lays them out, packed_row_reach() bytes that may be read
  const float* scales;              // [groups]
  const std::uint8_t* zeros;        // [groups], a byte each
};

constexpr std::int64_t packed_vector_size(std::int64_t columns) {
  return (columns + kPackedBlock - 1) / kPackedBlock * kPackedBlock;
}

// How far a row is read, whatever lies behind its codes.
constexpr std::int64_t packed_row_reach(std::int64_t columns, int bits) {
  return packed_vector_size(columns) * bits / 8 + 16;
}

// Lays x [columns] out as multiply_packed_row() takes it, in packed_vector_size(columns) floats.
void arrange_packed_vector(const float* x, std::int64_t columns, float* arranged);

// out[n * stride] = sum over groups g of scales[g] * (sum over i of g of (codes[i] - zeros[g]) * x_n[i]) for
// `count` <= kMostPackedVectors vectors x_n, arranged one behind the other.
void multiply_packed_row(const PackedRow& row, const float* arranged, std::int64_t count, float* out,
                         std::int64_t stride);

}  // namespace wring

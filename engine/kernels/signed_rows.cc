// Eight columns at a time: their byte of signs becomes a mask; the last columns one by one.
#include "engine/kernels/signed_rows.h"

#include <cstring>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

constexpr std::int64_t kLanes = 8;  // eight columns have their signs in one byte
using Floats = Lanes<kLanes>;
using Ints = IntLanes<kLanes>;

constexpr Ints kBits = {1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7};

// All bits set in the lanes of negative signs.
WRING_INLINE Ints negative_lanes(std::uint8_t byte) {
  return (kBits & static_cast<std::int32_t>(byte)) == kBits;
}

WRING_INLINE float sum_of(const Floats& x) {
  return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

WRING_INLINE bool is_negative(const std::uint8_t* bytes, std::int64_t j) {
  return (bytes[j >> 3] >> (j & 7)) & 1;
}

WRING_INLINE Floats only(const Ints& lanes, const Floats& x) {
  Ints bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits &= lanes;
  Floats kept;
  std::memcpy(&kept, &bits, sizeof kept);
  return kept;
}

// The sum with signs is the sum without them less twice that of the negative ones: one masked addition.
template <int kRank>
WRING_INLINE void signed_sums(const std::uint8_t* negative, std::int64_t row_bytes, const float* z,
                              const float* totals, std::int64_t rank, std::int64_t columns, float* sums) {
  constexpr int kRows = 4;
  Floats held[kRows][kRank] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    Floats x[kRank];
    for (int k = 0; k < kRank; ++k) x[k] = load_lanes<kLanes>(z + k * columns + j);
    for (int r = 0; r < kRows; ++r) {
      const Ints lanes = negative_lanes(negative[r * row_bytes + j / 8]);
      for (int k = 0; k < kRank; ++k) held[r][k] += only(lanes, x[k]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kRank; ++k) {
      float sum = sum_of(held[r][k]);
      for (std::int64_t i = j; i < columns; ++i)
        if (is_negative(negative + r * row_bytes, i)) sum += z[k * columns + i];
      sums[r * rank + k] = totals[k] - 2 * sum;
    }
}

}  // namespace

WRING_MULTIVERSION
void add_signed_row(const std::uint8_t* negative, const float* u, const float* v, std::int64_t rank,
                    std::int64_t columns, float* out) {
  std::int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    Floats product = {};
    for (std::int64_t k = 0; k < rank; ++k) product += u[k] * load_lanes<kLanes>(v + k * columns + j);
    Ints bits;
    std::memcpy(&bits, &product, sizeof bits);
    bits ^= negative_lanes(negative[j / 8]) & static_cast<std::int32_t>(0x80000000U);
    std::memcpy(&product, &bits, sizeof product);
    store_lanes(out + j, product + load_lanes<kLanes>(out + j));
  }
  for (; j < columns; ++j) {
    float product = 0;
    for (std::int64_t k = 0; k < rank; ++k) product += u[k] * v[k * columns + j];
    out[j] += is_negative(negative, j) ? -product : product;
  }
}

WRING_MULTIVERSION
void signed_sums_of_four_rows(const std::uint8_t* negative, std::int64_t row_bytes, const float* z,
                              const float* totals, std::int64_t rank, std::int64_t columns, float* sums) {
  std::int64_t k = 0;
  for (; k + 2 <= rank; k += 2)
    signed_sums<2>(negative, row_bytes, z + k * columns, totals + k, rank, columns, sums + k);
  if (k < rank) signed_sums<1>(negative, row_bytes, z + k * columns, totals + k, rank, columns, sums + k);
}

}  // namespace wring

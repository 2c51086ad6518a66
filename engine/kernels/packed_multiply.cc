// A block of codes is sixteen lanes of four neighbours each: shifts bring one of the four after the other to
// the bottom of its lane, where it becomes a float, and the vectors lie in that order. A code is the low bits
// of a float of 2^23, and zero points carry as much: their difference is exact.
#include "engine/kernels/packed_multiply.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

constexpr int kPhases = 4;  // codes of a lane
constexpr std::int32_t kOffsetBits = 0x4B000000;
constexpr float kOffset = 8388608.0F;  // 2^23, whose bits those are

typedef std::uint8_t Bytes __attribute__((vector_size(16)));
typedef std::uint32_t FourWords __attribute__((vector_size(16)));

template <int L, typename Word>
WRING_INLINE IntLanes<L> widened(const std::uint8_t* from) {
  typedef Word Words __attribute__((vector_size(L * sizeof(Word))));
  Words words;
  std::memcpy(&words, from, sizeof words);
  if constexpr (sizeof(Word) == 1) {  // from bytes to words at once becomes scalar code
    typedef std::uint16_t Shorts __attribute__((vector_size(L * 2)));
    return __builtin_convertvector(__builtin_convertvector(words, Shorts), IntLanes<L>);
  }
  return __builtin_convertvector(words, IntLanes<L>);
}

// Four lanes whose codes do not begin at bytes, or at bytes that no type has the width of: lane k has the
// four bytes that begin with its first code, less the bits before that.
template <int kBits>
WRING_INLINE FourWords four_lanes(const std::uint8_t* from) {
  constexpr int at[4] = {0, 4 * kBits / 8, 8 * kBits / 8, 12 * kBits / 8};
  constexpr FourWords kBefore = {0, 4 * kBits % 8, 0, 4 * kBits % 8};
  Bytes bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  bytes = __builtin_shufflevector(bytes, bytes, at[0], at[0] + 1, at[0] + 2, at[0] + 3, at[1], at[1] + 1,
                                  at[1] + 2, at[1] + 3, at[2], at[2] + 1, at[2] + 2, at[2] + 3, at[3],
                                  at[3] + 1, at[3] + 2, at[3] + 3);
  FourWords words;
  std::memcpy(&words, &bytes, sizeof words);
  return words >> kBefore;
}

// Side by side in registers: a load of what was just stored in parts would wait for it.
template <int kBits, int L>
WRING_INLINE IntLanes<L> odd_lanes(const std::uint8_t* from) {
  if constexpr (L == 4) {
    return IntLanes<4>(four_lanes<kBits>(from));
  } else {
    const IntLanes<L / 2> low = odd_lanes<kBits, L / 2>(from),
                          high = odd_lanes<kBits, L / 2>(from + kBits * L / 4);
    if constexpr (L == 8) return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    if constexpr (L == 16)
      return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
}

// The codes of L lanes, the first of each at the bottom; what stands above them is to be masked.
template <int kBits, int L>
WRING_INLINE IntLanes<L> lanes_of_codes(const std::uint8_t* from) {
  if constexpr (kBits == 2) {
    return widened<L, std::uint8_t>(from);
  } else if constexpr (kBits == 4) {
    return widened<L, std::uint16_t>(from);
  } else if constexpr (kBits == 8) {
    return widened<L, std::uint32_t>(from);
  } else {
    return odd_lanes<kBits, L>(from);
  }
}

template <int kBits, int L>
WRING_INLINE Lanes<L> offset_codes(const IntLanes<L>& held) {
  const IntLanes<L> bits = (held & ((1 << kBits) - 1)) | kOffsetBits;
  Lanes<L> codes;
  std::memcpy(&codes, &bits, sizeof codes);
  return codes;
}

// Adds the products of one block to the lanes' sums of each vector.
template <int kBits, int kCount, int L>
WRING_INLINE void add_block(const std::uint8_t* codes, const Lanes<L> (&zeros)[kMostLanes / L],
                            const float* x, std::int64_t x_stride, Lanes<L> (&sums)[kCount][kMostLanes / L]) {
#pragma GCC unroll 4
  for (int part = 0; part < kMostLanes / L; ++part) {
    IntLanes<L> held = lanes_of_codes<kBits, L>(codes + kBits * L / 2 * part);
#pragma GCC unroll 4
    for (int phase = 0; phase < kPhases; ++phase) {
      const Lanes<L> weights = offset_codes<kBits, L>(held) - zeros[part];
#pragma GCC unroll 4
      for (int n = 0; n < kCount; ++n)
        sums[n][part] += weights * load_lanes<L>(x + n * x_stride + phase * kMostLanes + part * L);
      if (phase + 1 < kPhases) held >>= kBits;
    }
  }
}

// The sum of all lanes, halves onto halves.
template <int L>
WRING_INLINE float folded(const Lanes<L> (&parts)[kMostLanes / L]) {
  Lanes<4> fours[4];
  std::memcpy(fours, parts, sizeof fours);
  const Lanes<4> sum = (fours[0] + fours[2]) + (fours[1] + fours[3]);
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

// One value for each quarter of sixteen lanes, in them all.
template <int L>
WRING_INLINE void spread(const float (&quarters)[4], Lanes<L> (&parts)[kMostLanes / L]) {
  Lanes<4> fours[4];
  for (int i = 0; i < 4; ++i) fours[i] = Lanes<4>{} + quarters[i];
  if constexpr (L == 4) {
    for (int i = 0; i < 4; ++i) parts[i] = fours[i];
  } else {
    const auto low = __builtin_shufflevector(fours[0], fours[1], 0, 1, 2, 3, 4, 5, 6, 7),
               high = __builtin_shufflevector(fours[2], fours[3], 0, 1, 2, 3, 4, 5, 6, 7);
    if constexpr (L == 8) {
      parts[0] = low;
      parts[1] = high;
    } else {
      parts[0] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
  }
}

// The grid of the groups that a block's quarters are in, where they are not all in one.
class QuarterGrid {
 public:
  WRING_INLINE explicit QuarterGrid(const PackedRow& row)
      : row_(row), quarters_(row.group_size / kPackedQuarter), left_(quarters_) {}

  // Past the last group scales are zero.
  WRING_INLINE void next(float (&scales)[4], float (&zeros)[4]) {
    for (int i = 0; i < 4; ++i) {
      const bool is_group = group_ < row_.groups;
      scales[i] = is_group ? row_.scales[group_] : 0;
      zeros[i] = kOffset + (is_group ? row_.zeros[group_] : 0);
      if (--left_ > 0) continue;
      ++group_;
      left_ = quarters_;
    }
  }

 private:
  const PackedRow& row_;
  std::int64_t quarters_, left_, group_ = 0;
};

// Where a row is read, and where the vectors.
struct Places {
  const std::uint8_t* codes;
  const float* x;
  std::int64_t x_stride;
};

// Takes the next `blocks`, each lane of which has one grid.
template <int kBits, int kCount, int L>
WRING_INLINE void add_blocks(std::int64_t blocks, const Lanes<L> (&scales)[kMostLanes / L],
                             const Lanes<L> (&zeros)[kMostLanes / L], Places& at,
                             Lanes<L> (&totals)[kCount][kMostLanes / L]) {
  Lanes<L> sums[kCount][kMostLanes / L] = {};
  for (; blocks > 0; --blocks) {
    add_block<kBits, kCount, L>(at.codes, zeros, at.x, at.x_stride, sums);
    at.codes += kBits * kPackedBlock / 8;
    at.x += kPackedBlock;
  }
  for (int n = 0; n < kCount; ++n)
    for (int part = 0; part < kMostLanes / L; ++part) totals[n][part] += sums[n][part] * scales[part];
}

template <int kBits, int kCount, int L>
WRING_INLINE void multiply_row(const PackedRow& row, const float* x, float* out, std::int64_t stride) {
  const std::int64_t columns = packed_vector_size(row.groups * row.group_size);
  Places at{row.codes, x, columns};
  Lanes<L> scales[kMostLanes / L], zeros[kMostLanes / L], totals[kCount][kMostLanes / L] = {};
  if (row.group_size % kPackedBlock == 0) {
    for (std::int64_t group = 0; group < row.groups; ++group) {
      for (int part = 0; part < kMostLanes / L; ++part) {
        scales[part] = Lanes<L>{} + row.scales[group];
        zeros[part] = Lanes<L>{} + (kOffset + row.zeros[group]);
      }
      add_blocks<kBits, kCount, L>(row.group_size / kPackedBlock, scales, zeros, at, totals);
    }
  } else {
    QuarterGrid grid(row);
    for (std::int64_t block = 0; block < columns / kPackedBlock; ++block) {
      float quarter_scales[4], quarter_zeros[4];
      grid.next(quarter_scales, quarter_zeros);
      spread<L>(quarter_scales, scales);
      spread<L>(quarter_zeros, zeros);
      add_blocks<kBits, kCount, L>(1, scales, zeros, at, totals);
    }
  }
  for (int n = 0; n < kCount; ++n) out[n * stride] = folded<L>(totals[n]);
}

template <int kBits, int L>
WRING_INLINE void multiply_vectors(const PackedRow& row, const float* x, std::int64_t count, float* out,
                                   std::int64_t stride) {
  switch (count) {
    case 1:
      return multiply_row<kBits, 1, L>(row, x, out, stride);
    case 2:
      return multiply_row<kBits, 2, L>(row, x, out, stride);
    case 3:
      return multiply_row<kBits, 3, L>(row, x, out, stride);
    default:
      return multiply_row<kBits, 4, L>(row, x, out, stride);
  }
}

template <int L>
WRING_INLINE void multiply_packed_row_in(const PackedRow& row, const float* x, std::int64_t count, float* out,
                                         std::int64_t stride) {
  switch (row.bits) {
    case 1:
      return multiply_vectors<1, L>(row, x, count, out, stride);
    case 2:
      return multiply_vectors<2, L>(row, x, count, out, stride);
    case 3:
      return multiply_vectors<3, L>(row, x, count, out, stride);
    case 4:
      return multiply_vectors<4, L>(row, x, count, out, stride);
    case 5:
      return multiply_vectors<5, L>(row, x, count, out, stride);
    case 6:
      return multiply_vectors<6, L>(row, x, count, out, stride);
    case 7:
      return multiply_vectors<7, L>(row, x, count, out, stride);
    default:
      return multiply_vectors<8, L>(row, x, count, out, stride);
  }
}

}  // namespace

void arrange_packed_vector(const float* x, std::int64_t columns, float* arranged) {
  std::fill_n(arranged, packed_vector_size(columns), 0.0F);
  for (std::int64_t i = 0; i < columns; ++i) {
    const std::int64_t block = i / kPackedBlock, lane = i % kPackedBlock / kPhases, phase = i % kPhases;
    arranged[block * kPackedBlock + phase * kMostLanes + lane] = x[i];
  }
}

WRING_PER_REGISTER(multiply_packed_row,
                   (const PackedRow& row, const float* arranged, std::int64_t count, float* out,
                    std::int64_t stride),
                   (row, arranged, count, out, stride))

}  // namespace wring

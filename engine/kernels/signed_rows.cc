// Decoding takes eight columns at a time: their byte of signs becomes a mask. Sums take eight rows at a time:
// three bits of each row choose among the sums of three columns, which all rows share (the method of the four
// Russians, in registers).
#include "engine/kernels/signed_rows.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/lanes.h"
#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

constexpr std::int64_t kLanes = 8;  // columns that have their signs in one byte; rows that are summed at once
using Floats = Lanes<kLanes>;
using Ints = IntLanes<kLanes>;
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));

constexpr std::int64_t kWord = 32;        // columns that have their signs in one word
constexpr std::int64_t kTriples = 11;     // of a word: ten of three columns, one of two
constexpr std::int64_t kBlockBytes = 32;  // of a row's signs that are taken at once: eight words

constexpr Ints kBits = {1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7};

// All bits set in the lanes of negative signs.
WRING_INLINE Ints negative_lanes(std::uint8_t byte) {
  return (kBits & static_cast<std::int32_t>(byte)) == kBits;
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

// table[index % 8] in each lane.
WRING_INLINE Floats picked(const Floats& table, const Words& index) {
#if defined(__clang__)
  Floats found;
  for (int i = 0; i < kLanes; ++i) found[i] = table[index[i] % kLanes];
  return found;
#else
  return __builtin_shuffle(table, Ints(index));
#endif
}

std::int64_t words_of(std::int64_t columns) {
  return (columns + kWord - 1) / kWord;
}

// words[i]: word i of eight rows, of eight words of each.
WRING_INLINE void transpose(const std::uint8_t* rows, std::int64_t row_bytes, Words* words) {
  Words r[8], pairs[8], fours[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&r[i], rows + i * row_bytes, sizeof r[i]);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4)
    for (int half = 0; half < 2; ++half) {
      const Words &a = pairs[i + half], &b = pairs[i + 2 + half];
      fours[i + 2 * half] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * half + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; ++i) {
    words[i] = __builtin_shufflevector(fours[i], fours[4 + i], 0, 1, 2, 3, 8, 9, 10, 11);
    words[4 + i] = __builtin_shufflevector(fours[i], fours[4 + i], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// Adds what 32 columns have under negative signs; two sums that take turns keep the additions from waiting
// for each other.
template <int kRank>
WRING_INLINE void add_negative(Words signs, const float* subsets, std::int64_t rank,
                               Floats (&held)[kRank][2]) {
#pragma GCC unroll 11
  for (int triple = 0; triple < kTriples; ++triple) {
#pragma GCC unroll 4
    for (int k = 0; k < kRank; ++k)
      held[k][triple % 2] += picked(load_lanes<kLanes>(subsets + (triple * rank + k) * kLanes), signs);
    signs >>= 3;
  }
}

// A word of eight rows, each of which has `bytes` left.
WRING_INLINE Words word_of_rows(const std::uint8_t* rows, std::int64_t row_bytes, std::int64_t bytes) {
  std::uint32_t words[kLanes] = {};
  for (std::int64_t r = 0; r < kLanes; ++r)
    if (bytes >= 4)
      std::memcpy(&words[r], rows + r * row_bytes, 4);
    else
      std::memcpy(&words[r], rows + r * row_bytes, static_cast<std::size_t>(bytes));
  Words all;
  std::memcpy(&all, words, sizeof all);
  return all;
}

// Adds to `sums` what some of the columns have under negative signs, of all rows: so few columns that their
// subset sums stay in the first cache.
template <int kRank>
WRING_INLINE void add_block(const std::uint8_t* negative, std::int64_t row_bytes, std::int64_t rows,
                            std::int64_t bytes, const float* subsets, std::int64_t rank, float* sums) {
  const std::int64_t step = kTriples * rank * kLanes;
  for (std::int64_t row = 0; row < rows;
       row += kLanes, negative += kLanes * row_bytes, sums += rank * kLanes) {
    Floats held[kRank][2] = {};
    if (bytes == kBlockBytes) {
      Words words[8];
      transpose(negative, row_bytes, words);
      for (int i = 0; i < 8; ++i) add_negative<kRank>(words[i], subsets + i * step, rank, held);
    } else {
      for (std::int64_t byte = 0; byte < bytes; byte += 4)
        add_negative<kRank>(word_of_rows(negative + byte, row_bytes, bytes - byte), subsets + byte / 4 * step,
                            rank, held);
    }
    for (int k = 0; k < kRank; ++k) {
      float* const sum = sums + k * kLanes;
      store_lanes(sum, load_lanes<kLanes>(sum) + (held[k][0] + held[k][1]));
    }
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

std::int64_t subset_sum_count(std::int64_t rank, std::int64_t columns) {
  return words_of(columns) * kTriples * rank * kLanes;
}

WRING_MULTIVERSION
void subset_sums(const float* z, std::int64_t rank, std::int64_t columns, float* subsets) {
  constexpr Ints kHas[3] = {
      {0, -1, 0, -1, 0, -1, 0, -1}, {0, 0, -1, -1, 0, 0, -1, -1}, {0, 0, 0, 0, -1, -1, -1, -1}};
  for (std::int64_t word = 0; word < words_of(columns); ++word)
    for (std::int64_t triple = 0; triple < kTriples; ++triple)
      for (std::int64_t k = 0; k < rank; ++k, subsets += kLanes) {
        const std::int64_t first = word * kWord + 3 * triple, end = std::min(columns, (word + 1) * kWord);
        Floats sums = {};
        for (std::int64_t i = 0; i < 3 && first + i < end; ++i)
          sums += only(kHas[i], Floats{} + z[k * columns + first + i]);
        store_lanes(subsets, sums);
      }
}

// The sum with signs is the sum without them less twice that of the negative ones.
WRING_MULTIVERSION
void signed_sums(const std::uint8_t* negative, std::int64_t row_bytes, std::int64_t rows,
                 const float* subsets, const float* totals, std::int64_t rank, float* sums) {
  std::fill_n(sums, rows * rank, 0.0F);
  for (std::int64_t byte = 0; byte < row_bytes; byte += kBlockBytes) {
    const std::int64_t bytes = std::min(kBlockBytes, row_bytes - byte);
    const std::uint8_t* const from = negative + byte;
    std::int64_t k = 0;
    for (; k + 4 <= rank; k += 4)
      add_block<4>(from, row_bytes, rows, bytes, subsets + k * kLanes, rank, sums + k * kLanes);
    for (; k + 2 <= rank; k += 2)
      add_block<2>(from, row_bytes, rows, bytes, subsets + k * kLanes, rank, sums + k * kLanes);
    if (k < rank) add_block<1>(from, row_bytes, rows, bytes, subsets + k * kLanes, rank, sums + k * kLanes);
    subsets += kBlockBytes / 4 * kTriples * rank * kLanes;
  }
  for (std::int64_t i = 0; i < rows * rank; ++i) sums[i] = totals[i / kLanes % rank] - 2 * sums[i];
}

}  // namespace wring

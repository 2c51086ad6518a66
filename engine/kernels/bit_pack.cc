// Packing and unpacking by eights: eight codes are `bits` whole bytes, one 64-bit word holds them.
#include "engine/kernels/bit_pack.h"

#include <cstring>

#include "engine/kernels/multiversion.h"

namespace wring {
namespace {

// Whole eights of the string, one call a width so that the shifts are constants.
template <int kBits>
inline __attribute__((always_inline)) void unpack_eights(const std::uint8_t* in, std::int64_t eights,
                                                         std::uint8_t* codes) {
  constexpr std::uint32_t kMask = (1U << kBits) - 1;
  for (std::int64_t i = 0; i < eights; ++i, in += kBits, codes += 8) {
    std::uint64_t word = 0;
    for (int b = 0; b < kBits; ++b) word |= std::uint64_t{in[b]} << (8 * b);
    for (int k = 0; k < 8; ++k) codes[k] = static_cast<std::uint8_t>((word >> (k * kBits)) & kMask);
  }
}

WRING_MULTIVERSION void unpack_nibbles(const std::uint8_t* in, std::int64_t pairs, std::uint8_t* codes) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    codes[2 * i] = in[i] & 15;
    codes[2 * i + 1] = in[i] >> 4;
  }
}

WRING_MULTIVERSION void unpack_pairs(const std::uint8_t* in, std::int64_t fours, std::uint8_t* codes) {
  for (std::int64_t i = 0; i < fours; ++i)
    for (int k = 0; k < 4; ++k) codes[4 * i + k] = (in[i] >> (2 * k)) & 3;
}

void unpack_whole(const std::uint8_t* in, std::int64_t eights, int bits, std::uint8_t* codes) {
  switch (bits) {
    case 1:
      return unpack_eights<1>(in, eights, codes);
    case 2:
      return unpack_pairs(in, 2 * eights, codes);
    case 3:
      return unpack_eights<3>(in, eights, codes);
    case 4:
      return unpack_nibbles(in, 4 * eights, codes);
    case 5:
      return unpack_eights<5>(in, eights, codes);
    case 6:
      return unpack_eights<6>(in, eights, codes);
    case 7:
      return unpack_eights<7>(in, eights, codes);
    default:
      std::memcpy(codes, in, static_cast<std::size_t>(8 * eights));
  }
}

}  // namespace

void pack_bits(const std::uint8_t* codes, std::int64_t count, int bits, std::uint8_t* out) {
  std::uint32_t word = 0;
  int held = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    word |= std::uint32_t{codes[i]} << held;
    for (held += bits; held >= 8; held -= 8, word >>= 8) *out++ = static_cast<std::uint8_t>(word);
  }
  if (held > 0) *out = static_cast<std::uint8_t>(word);
}

void unpack_bits(const std::uint8_t* in, std::int64_t count, int bits, std::uint8_t* codes) {
  const std::int64_t eights = count / 8, rest = count % 8;
  unpack_whole(in, eights, bits, codes);
  in += eights * bits;
  std::uint64_t word = 0;
  for (std::int64_t b = 0; b < packed_bytes(rest, bits); ++b) word |= std::uint64_t{in[b]} << (8 * b);
  for (std::int64_t k = 0; k < rest; ++k)
    codes[8 * eights + k] = static_cast<std::uint8_t>((word >> (k * bits)) & ((1U << bits) - 1));
}

WRING_MULTIVERSION void dequantize(const std::uint8_t* codes, std::int64_t count, float zero, float scale,
                                   float* values) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = (static_cast<float>(codes[i]) - zero) * scale;
}

}  // namespace wring

// Small unsigned integers in a little-endian bit string, and back.
#pragma once

#include <cstdint>

namespace wring {

constexpr std::int64_t packed_bytes(std::int64_t count, int bits) {
  return (count * bits + 7) / 8;
}

// Element i of `codes` goes to bits [i*bits, (i+1)*bits) of `out`, which has packed_bytes(count, bits) bytes.
// bits 1 .. 8; every code is below 2^bits.
void pack_bits(const std::uint8_t* codes, std::int64_t count, int bits, std::uint8_t* out);
void unpack_bits(const std::uint8_t* in, std::int64_t count, int bits, std::uint8_t* codes);

// values[i] = (codes[i] - zero) * scale
void dequantize(const std::uint8_t* codes, std::int64_t count, float zero, float scale, float* values);

}  // namespace wring

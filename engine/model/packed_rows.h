// Matrices of small codes, packed along their rows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace wring {

// codes uint8 [rows, n], each below 2^bits -> uint8 [rows, ceil(n * bits / 8)]: element i of a row at bits
// [i*bits, (i+1)*bits) of its little-endian bit string.
at::Tensor pack_rows(const at::Tensor& codes, int bits);

// And back: the first `count` codes of each row.
at::Tensor unpack_rows(const at::Tensor& packed, std::int64_t count, int bits);

// The same with rows of whole 32-bit words: int32 [rows, ceil(n * bits / 32)].
at::Tensor pack_words(const at::Tensor& codes, int bits);
at::Tensor unpack_words(const at::Tensor& words, std::int64_t count, int bits);

}  // namespace wring

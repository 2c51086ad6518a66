// ggml's tensor types: sizes of their blocks, and values to blocks and back (block layouts and quantisers:
// ggml).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace wring {

// ggml's tensor type ids that Wring reads and writes.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30,
  kMXFP4 = 39,
};

// These three throw Error(kUnimplemented, "UNSUPPORTED_GGML_TYPE") for an id that is not in the list above.
std::string_view to_string(GgmlType type);         // "Q4_1"
std::uint64_t ggml_block_elements(GgmlType type);  // 1, 32 or 256
std::uint64_t ggml_block_bytes(GgmlType type);

// "q4_K", "Q4_k", ... in any case. Throws Error(kInvalidArgument, "UNSUPPORTED_GGML_TYPE") that lists the
// types.
GgmlType ggml_type_from_string(std::string_view name);

// Bytes of a row. Throws Error(kInvalidArgument, "GGML_ROW") where the elements are no whole blocks.
std::uint64_t ggml_row_bytes(GgmlType type, std::uint64_t elements);

// Decodes whole blocks: values.size() is a multiple of the block's elements and matches blocks.size().
void ggml_decode(GgmlType type, std::span<const std::byte> blocks, std::span<float> values);

// Encodes one row of a tensor, to the very bytes of ggml's reference quantisers compiled without contraction.
//
// `row` is whole blocks (else Error(kInvalidArgument, "GGML_ROW")), `out` holds ggml_row_bytes. `importance`
// is empty, or one weight from 0 a column (an imatrix row: mean squared activations), and then steers the
// choice of scales; F32, F16, BF16, Q8_0 and MXFP4 do without it. Values that are not finite give some bytes,
// no fault.
void ggml_encode(GgmlType type, std::span<const float> row, std::span<std::byte> out,
                 std::span<const float> importance = {});

}  // namespace wring

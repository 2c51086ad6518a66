// ggml_encode: checks a row and hands it to its type's quantiser.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "common/error.h"
#include "formats/ggml_blocks.h"
#include "formats/ggml_half.h"
#include "formats/ggml_quantisers.h"

namespace wring {
namespace {

using Byte = std::uint8_t;

void copy_f32(const float* x, const float*, std::int64_t count, Byte* out) {
  std::memcpy(out, x, static_cast<std::size_t>(count) * sizeof *x);
}

void round_f16(const float* x, const float*, std::int64_t count, Byte* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint16_t half = float_to_half(x[i]);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

// Nearest even; a NaN stays one, quiet.
void round_bf16(const float* x, const float*, std::int64_t count, Byte* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i]);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    const auto high =
        static_cast<std::uint16_t>(nan ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    std::memcpy(out + 2 * i, &high, 2);
  }
}

struct Encoder {
  GgmlQuantiser* quantise;
  bool takes_importance;
};

Encoder encoder(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return {copy_f32, false};
    case GgmlType::kF16:
      return {round_f16, false};
    case GgmlType::kBF16:
      return {round_bf16, false};
    case GgmlType::kQ4_0:
      return {quantise_q4_0, true};
    case GgmlType::kQ4_1:
      return {quantise_q4_1, true};
    case GgmlType::kQ5_0:
      return {quantise_q5_0, true};
    case GgmlType::kQ5_1:
      return {quantise_q5_1, true};
    case GgmlType::kQ8_0:
      return {quantise_q8_0, false};
    case GgmlType::kQ2_K:
      return {quantise_q2_k, true};
    case GgmlType::kQ3_K:
      return {quantise_q3_k, true};
    case GgmlType::kQ4_K:
      return {quantise_q4_k, true};
    case GgmlType::kQ5_K:
      return {quantise_q5_k, true};
    case GgmlType::kQ6_K:
      return {quantise_q6_k, true};
    case GgmlType::kIQ4_NL:
      return {quantise_iq4_nl, true};
    case GgmlType::kMXFP4:
      return {quantise_mxfp4, false};
  }
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_GGML_TYPE",
              "ggml tensor type " + std::to_string(static_cast<std::uint32_t>(type)) + " is not supported");
}

void check_importance(std::span<const float> importance, std::size_t columns) {
  if (importance.size() != columns)
    throw Error(
        ErrorCode::kInvalidArgument, "IMPORTANCE_SIZE",
        std::to_string(importance.size()) + " importances for rows of " + std::to_string(columns) + " values",
        "importance", "An imatrix belongs to one model: compute it from the very model to be encoded.");
  for (const float weight : importance)
    if (!(weight >= 0) || std::isinf(weight))
      throw Error(ErrorCode::kInvalidArgument, "IMPORTANCE_VALUE",
                  "an importance that is negative or not finite: " + std::to_string(weight), "importance",
                  "Compute the imatrix again: such a value comes of activations that overflowed.");
}

}  // namespace

void ggml_encode(GgmlType type, std::span<const float> row, std::span<std::byte> out,
                 std::span<const float> importance) {
  const Encoder encode = encoder(type);
  if (out.size() != ggml_row_bytes(type, row.size()))
    throw Error(ErrorCode::kInternal, "GGML_ENCODE", "the row and the room for its blocks do not match");
  const bool weighted = !importance.empty() && encode.takes_importance;
  if (weighted) check_importance(importance, row.size());
  encode.quantise(row.data(), weighted ? importance.data() : nullptr,
                  static_cast<std::int64_t>(row.size() / ggml_block_elements(type)),
                  reinterpret_cast<Byte*>(out.data()));
}

}  // namespace wring

// Which ggml type each tensor of a model gets, as llama-quantize chooses (facts: llama.cpp's
// src/llama-quant.cpp).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/ggml_blocks.h"

namespace wring {

// A file type of llama-quantize. `id` is the key general.file_type.
struct GgufFileType {
  std::string_view name;  // "Q4_K_M"
  std::uint32_t id;
  GgmlType type;  // of tensors that no rule lifts
};

// By name in any case; Q3_K, Q4_K and Q5_K are the _M ones. Throws Error(kInvalidArgument,
// "UNSUPPORTED_GGUF_FILE_TYPE") that lists the names.
const GgufFileType& gguf_file_type(std::string_view name);

// What the choice asks about a model; the names are those of GGUF's keys. Of the architectures with rules of
// their own, falcon's are known, glm5-next's and bailingmoe3's are not.
struct GgufModelFacts {
  std::string architecture;  // "llama"
  int block_count = 0;
  int head_count = 0, head_count_kv = 0;  // of the first block
  int expert_count = 0;
};

struct GgufTensorShape {
  std::string name;                 // "blk.0.attn_q.weight"
  std::vector<std::int64_t> shape;  // torch order: [out, in]; experts before
};

// Tensors whose name the pattern is found in get the type; the first override that fits counts.
struct GgmlTypeOverride {
  std::string pattern;  // ECMAScript, lower case
  GgmlType type;
};

// "attn_v=q6_K" as llama-quantize's --tensor-type takes it. Throws Error(kInvalidArgument, "BAD_TENSOR_TYPE")
// that names the pattern.
GgmlTypeOverride parse_ggml_type_override(std::string_view text);

// Whether the pattern is found in a tensor's name.
bool names_tensor(const GgmlTypeOverride& override, const std::string& name);

// The type of each tensor, in their order.
//
// All tensors of the model belong in the list: a head is tied where there is no output.weight, and some rules
// count layers. Norms, 1-D tensors and what llama.cpp computes in fp32 get F32, as its converter writes them.
// Rows that the chosen type's blocks do not divide fall back to blocks of 32, and then to F16. Overrides
// apply to all that is quantised, and, unlike llama-quantize's, to F32, F16 and BF16 files too. Throws
// Error(kInvalidArgument, "IMATRIX_NEEDED") where llama-quantize refuses to go without one: Q2_K_S.
std::vector<GgmlType> choose_ggml_types(const GgufFileType& file_type, const GgufModelFacts& model,
                                        std::span<const GgufTensorShape> tensors, bool has_imatrix = false,
                                        std::span<const GgmlTypeOverride> overrides = {});

}  // namespace wring

// How a layer's weight is stored, and the way back to its values.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"

namespace wring {

// One entry of the model's tensor table, as it is written to an artifact: "<layer>.<suffix>".
struct NamedTensor {
  std::string suffix;  // "weight", "codes", "scales", ...
  at::Tensor tensor;
};

// A weight as storage: named tensors of the model's tensor table, and decode().
//
// Immutable once built, so any thread may read it. A linear layer's weight is [out, in], an embedding's
// [vocabulary, features]. Tensors may be shared (a tied embedding); bytes count them once.
class WeightRep {
 public:
  virtual ~WeightRep() = default;

  // Name of the storage format in artifacts: "dense", "masked", "packed-int", "ggml", "low-rank",
  // "sum", "float8", "float4", "rounded-input".
  virtual std::string_view format() const = 0;

  virtual std::int64_t rows() const = 0;     // out
  virtual std::int64_t columns() const = 0;  // in

  // Of the weight as a map: fewer than rows() * columns() where it is a product of thin matrices.
  virtual std::int64_t parameters() const { return rows() * columns(); }

  // The values, [out, in], contiguous, on the tensors' own device. Never cached here.
  virtual at::Tensor decode(at::ScalarType dtype) const = 0;

  // Those rows of it, ids int64 [n] -> [n, in]: an embedding's look-up.
  virtual at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const;

  // Everything that must be written for decode() to work in another process.
  virtual std::vector<NamedTensor> tensors() const = 0;

  // What decode() needs to know besides tensors(): {"bits": 4, ...}. With format(), it goes into wring.json.
  virtual Json attributes() const = 0;

  // y = x weight^T without decoding, x [n, in] fp32 -> [n, out] fp32; an undefined tensor where this rep has
  // no such kernel for that shape and device (then: decode and multiply).
  virtual at::Tensor multiply(const at::Tensor& x) const;

  // What a linear layer's inputs are rounded to on their way to this weight, x [..., in] and back; x itself
  // where they are not.
  virtual at::Tensor round_input(const at::Tensor& x) const;

  // The same weight with only those of its rows (axis 0) or columns (axis 1), kept int64; null where that
  // needs a new encoding.
  virtual std::shared_ptr<const WeightRep> slice(std::size_t axis, const at::Tensor& kept) const;

  std::uint64_t stored_bytes() const;  // of tensors()
};

// decode() in fp32 on the CPU, to be written to: a copy only where decode() gave the stored tensor itself.
at::Tensor decode_to_own(const WeightRep& rep);

// That of the plain values it holds; fp16 where they are encoded.
at::ScalarType source_dtype(const WeightRep& rep);

// Reads a rep back: `tensor(suffix)` gives the stored tensors. Throws Error(kInvalidArgument,
// "BAD_WEIGHT_REP") naming `layer` where format, attributes and tensors do not fit together.
using TensorLookup = std::function<at::Tensor(const std::string& suffix)>;
std::shared_ptr<const WeightRep> load_weight_rep(const std::string& layer, const std::string& format,
                                                 const Json& attributes, const TensorLookup& tensor);

// Makers, for methods and loaders.

// The plain values, [out, in], fp32, bf16 or fp16.
std::shared_ptr<const WeightRep> dense_rep(at::Tensor weight);

// Zeros left out: a bit mask and the kept values (row by row). `weight` [out, in]; `keep` bool [out, in].
std::shared_ptr<const WeightRep> masked_rep(const at::Tensor& weight, const at::Tensor& keep);

// Integers on per-group grids: value = (code - zero) * scale.
//   codes  uint8 [out, in], 0 .. 2^bits - 1
//   scales [out, groups] fp16, bf16 or fp32; zeros uint8 [out, groups], or undefined for the symmetric grid,
//   whose zero is 2^(bits-1). groups = in / group_size.
// Codes are stored packed: element i of a row at bits [i*bits, (i+1)*bits) of the row's little-endian bit
// string.
struct PackedInt {
  int bits = 4;
  std::int64_t group_size = 64;
  at::Tensor codes, scales, zeros;
};
std::shared_ptr<const WeightRep> packed_int_rep(const PackedInt& parts);

// GGUF blocks as they lie in a file: `blocks` uint8 [out, bytes of a row], `type` the ggml type's id.
std::shared_ptr<const WeightRep> ggml_rep(at::Tensor blocks, std::uint32_t type, std::int64_t columns);

// The product b a: a [rank, in], b [out, rank], each fp32, bf16 or fp16.
std::shared_ptr<const WeightRep> low_rank_rep(const at::Tensor& a, const at::Tensor& b);

// The sum of 2 to 16 reps of one shape, each kept as it is stored; sums among them are taken apart. The first
// is the weight that the others correct.
std::shared_ptr<const WeightRep> sum_rep(const std::vector<std::shared_ptr<const WeightRep>>& parts);

// Eight-bit floats on scales: value = values * scale, one scale for each tile of block_rows x block_columns
// (the last ones of a row or column of tiles may be cut off).
//   values float8_e4m3fn [out, in], finite
//   scales [ceil(out / block_rows), ceil(in / block_columns)] fp16, bf16 or fp32
struct Float8 {
  at::Tensor values, scales;
  std::int64_t block_rows = 1, block_columns = 1;
};
std::shared_ptr<const WeightRep> float8_rep(const Float8& parts);

// Four-bit floats (E2M1) on a scale for each group of neighbours along the input: value = E2M1 * scale /
// global.
//   codes  uint8 [out, in / 2], the even element in the low nibble: bit 3 the sign, bits 0 to 2 one of
//          0 .5 1 1.5 2 3 4 6
//   scales [out, groups]: float8_e4m3fn, finite (NVFP4), or uint8, the exponent of 2 plus 127 (MXFP4)
struct Float4 {
  at::Tensor codes, scales;
  double global_scale = 1;  // divides the scales; 1 with exponents
};
std::shared_ptr<const WeightRep> float4_rep(const Float4& parts);

// How a layer's inputs are rounded. Dynamic: each token, or each of its groups of `group_size` neighbours, on
// a symmetric scale of its own. Static: all on one scale that was chosen before, value = (code - zero) *
// scale.
enum class InputType { kInt8, kFloat8 };
struct InputRounding {
  InputType type = InputType::kInt8;
  std::int64_t group_size = -1;  // -1: the whole token
  double scale = 0;              // 0: dynamic
  std::int64_t zero = 0;         // of int8, -128 .. 127
  bool is_static() const { return scale != 0; }
  bool operator==(const InputRounding&) const = default;
};

// `weight`, whose layer rounds its inputs; not of another such rep.
std::shared_ptr<const WeightRep> rounded_input_rep(std::shared_ptr<const WeightRep> weight,
                                                   InputRounding rounding);
std::optional<InputRounding> input_rounding(const WeightRep& rep);  // nullopt: none
const WeightRep& without_rounding(const WeightRep& rep);            // itself, or the weight inside

}  // namespace wring

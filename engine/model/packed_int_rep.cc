// The quantised weight: packed integers, a scale and perhaps a zero point for each group of neighbours along
// the input.
#include <vector>

#include "engine/kernels/bit_pack.h"
#include "engine/kernels/packed_multiply.h"
#include "engine/model/fill_rows.h"
#include "engine/model/packed_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

// codes  uint8 [out, ceil(in * bits / 8)]
// scales [out, groups]
// zeros  uint8 [out, ceil(groups * bits / 8)], packed as the codes are; undefined for the symmetric grid
class PackedIntRep final : public WeightRep {
 public:
  PackedIntRep(int bits, std::int64_t group_size, at::Tensor codes, at::Tensor scales, at::Tensor zeros)
      : bits_(bits),
        group_size_(group_size),
        codes_(std::move(codes)),
        scales_(std::move(scales)),
        zeros_(std::move(zeros)) {}

  std::string_view format() const override { return "packed-int"; }
  std::int64_t rows() const override { return codes_.size(0); }
  std::int64_t columns() const override { return scales_.size(1) * group_size_; }
  Json attributes() const override {
    return {{"bits", bits_}, {"group_size", group_size_}, {"symmetric", !zeros_.defined()}};
  }
  std::vector<NamedTensor> tensors() const override {
    std::vector<NamedTensor> all = {{"codes", codes_}, {"scales", scales_}};
    if (zeros_.defined()) all.push_back({"zeros", zeros_});
    return all;
  }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor codes = codes_.cpu(), scales = scales_.to(at::kCPU, at::kFloat);
    const at::Tensor zeros = zeros_.defined() ? zeros_.cpu() : zeros_;
    const std::int64_t groups = scales.size(1), row_bytes = codes.size(1);
    const auto* packed = codes.data_ptr<std::uint8_t>();
    const auto* scale = scales.data_ptr<float>();
    const auto* packed_zeros = zeros.defined() ? zeros.data_ptr<std::uint8_t>() : nullptr;
    return fill_rows(rows(), columns(), dtype, codes_.device(), [&](std::int64_t row, float* out) {
      thread_local std::vector<std::uint8_t> unpacked, zero;
      unpacked.resize(static_cast<std::size_t>(groups * group_size_));
      zero.assign(static_cast<std::size_t>(groups), static_cast<std::uint8_t>(1U << (bits_ - 1)));
      unpack_bits(packed + row * row_bytes, groups * group_size_, bits_, unpacked.data());
      if (packed_zeros)
        unpack_bits(packed_zeros + row * packed_bytes(groups, bits_), groups, bits_, zero.data());
      for (std::int64_t g = 0; g < groups; ++g)
        dequantize(unpacked.data() + g * group_size_, group_size_, zero[static_cast<std::size_t>(g)],
                   scale[row * groups + g], out + g * group_size_);
    });
  }

  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return PackedIntRep(bits_, group_size_, codes_.index_select(0, ids), scales_.index_select(0, ids),
                        zeros_.defined() ? zeros_.index_select(0, ids) : zeros_)
        .decode(dtype);
  }

  // For the few rows of a decoding step: codes become floats in registers, weights are never decoded.
  at::Tensor multiply(const at::Tensor& x) const override {
    constexpr std::int64_t kRowsPerTask = 64;
    const std::int64_t count = x.size(0), groups = scales_.size(1), row_bytes = codes_.size(1),
                       reach = packed_row_reach(columns(), bits_);
    if (count > kMostPackedVectors || group_size_ % kPackedQuarter != 0) return {};
    if (!x.is_cpu() || !codes_.is_cpu() || x.scalar_type() != at::kFloat) return {};
    const at::Tensor scales = scales_.to(at::kFloat), vectors = arranged(x);
    at::Tensor y = at::empty({count, rows()}, at::kFloat);
    const auto* packed = codes_.const_data_ptr<std::uint8_t>();
    const auto* packed_zeros = zeros_.defined() ? zeros_.const_data_ptr<std::uint8_t>() : nullptr;
    const float *scale = scales.const_data_ptr<float>(), *values = vectors.const_data_ptr<float>();
    float* out = y.mutable_data_ptr<float>();
    at::parallel_for(0, rows(), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::uint8_t> zero(static_cast<std::size_t>(groups),
                                     static_cast<std::uint8_t>(1U << (bits_ - 1)));
      std::vector<std::uint8_t> last(static_cast<std::size_t>(reach));
      for (std::int64_t row = begin; row < end; ++row) {
        if (packed_zeros)
          unpack_bits(packed_zeros + row * packed_bytes(groups, bits_), groups, bits_, zero.data());
        const std::uint8_t* codes = packed + row * row_bytes;
        if ((rows() - row) * row_bytes < reach)
          codes = std::copy_n(codes, row_bytes, last.data()) - row_bytes;
        multiply_packed_row({bits_, groups, group_size_, codes, scale + row * groups, zero.data()}, values,
                            count, out + row, rows());
      }
    });
    return y;
  }

 private:
  at::Tensor arranged(const at::Tensor& x) const {
    const at::Tensor in = x.contiguous();
    at::Tensor vectors = at::empty({x.size(0), packed_vector_size(columns())}, at::kFloat);
    for (std::int64_t n = 0; n < x.size(0); ++n)
      arrange_packed_vector(in.const_data_ptr<float>() + n * columns(), columns(),
                            vectors.mutable_data_ptr<float>() + n * vectors.size(1));
    return vectors;
  }

  int bits_;
  std::int64_t group_size_;
  at::Tensor codes_, scales_, zeros_;
};

void check_grid(int bits, std::int64_t group_size, const at::Tensor& scales) {
  constexpr std::int64_t kMaxGroup = std::int64_t{1} << 31;
  if (bits < 1 || bits > 8) throw_bad_weight_rep("its bits are " + std::to_string(bits) + ", not 1 to 8");
  if (group_size < 1 || group_size > kMaxGroup)
    throw_bad_weight_rep("its group size is " + std::to_string(group_size));
  if (scales.dim() != 2 || !is_value_dtype(scales.scalar_type()))
    throw_bad_weight_rep("its scales are no matrix of fp32, bf16 or fp16");
  if (scales.size(1) > kMaxGroup) throw_bad_weight_rep("it has too many groups");
  if (!at::isfinite(scales).all().item<bool>()) throw_bad_weight_rep("a scale is NaN or infinite");
}

// `name` uint8 [rows, bytes]
void check_bytes(const char* name, const at::Tensor& tensor, std::int64_t rows, std::int64_t bytes) {
  if (tensor.dim() != 2 || tensor.scalar_type() != at::kByte || tensor.size(0) != rows ||
      tensor.size(1) != bytes)
    throw_bad_weight_rep(std::string("its ") + name + " are not bytes of shape [" + std::to_string(rows) +
                         ", " + std::to_string(bytes) + "]");
}

}  // namespace

std::shared_ptr<const WeightRep> packed_int_rep(const PackedInt& parts) {
  check_grid(parts.bits, parts.group_size, parts.scales);
  const std::int64_t rows = parts.scales.size(0), groups = parts.scales.size(1),
                     limit = std::int64_t{1} << parts.bits;
  check_bytes("codes", parts.codes, rows, groups * parts.group_size);
  if (parts.zeros.defined()) check_bytes("zeros", parts.zeros, rows, groups);
  for (const at::Tensor& codes : {parts.codes, parts.zeros})
    if (codes.defined() && codes.numel() > 0 && codes.max().item<std::int64_t>() >= limit)
      throw_bad_weight_rep("a code does not fit into " + std::to_string(parts.bits) + " bits");
  const at::Tensor zeros = parts.zeros.defined() ? pack_rows(parts.zeros, parts.bits) : at::Tensor();
  return std::make_shared<PackedIntRep>(parts.bits, parts.group_size, pack_rows(parts.codes, parts.bits),
                                        parts.scales.contiguous(), zeros);
}

std::shared_ptr<const WeightRep> load_packed_int_rep(const Json& attributes, const TensorLookup& tensor) {
  const auto bits = json_at<int>(attributes, "bits", "attributes");
  const auto group_size = json_at<std::int64_t>(attributes, "group_size", "attributes");
  const at::Tensor codes = tensor("codes"), scales = tensor("scales");
  check_grid(bits, group_size, scales);
  const std::int64_t rows = scales.size(0), groups = scales.size(1);
  check_bytes("codes", codes, rows, packed_bytes(groups * group_size, bits));
  if (json_at<bool>(attributes, "symmetric", "attributes"))
    return std::make_shared<PackedIntRep>(bits, group_size, codes, scales, at::Tensor());
  const at::Tensor zeros = tensor("zeros");
  check_bytes("zeros", zeros, rows, packed_bytes(groups, bits));
  return std::make_shared<PackedIntRep>(bits, group_size, codes, scales, zeros);
}

}  // namespace wring

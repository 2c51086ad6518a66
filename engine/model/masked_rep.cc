// The sparse weight: one bit for each place, and the values of the places whose bit is set.
#include <bit>
#include <cstring>

#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

// Whether any bit past `columns` is set in a row's last byte.
bool has_stray_bits(const std::uint8_t* row, std::int64_t columns) {
  return columns % 8 != 0 && (row[columns / 8] >> (columns % 8)) != 0;
}

// mask   uint8 [out, ceil(in / 8)]: column j is bit j % 8 of byte j / 8.
// values [kept]: row by row, in column order.
class MaskedRep final : public WeightRep {
 public:
  MaskedRep(at::Tensor mask, at::Tensor values, std::int64_t columns)
      : mask_(std::move(mask)), values_(std::move(values)), columns_(columns), row_start_{0} {
    const at::Tensor mask_cpu = mask_.cpu();
    const auto* bits = mask_cpu.data_ptr<std::uint8_t>();
    const std::int64_t row_bytes = mask_.size(1);
    row_start_.reserve(static_cast<std::size_t>(rows()) + 1);
    for (std::int64_t row = 0; row < rows(); ++row, bits += row_bytes) {
      std::int64_t kept = 0;
      for (std::int64_t i = 0; i < row_bytes; ++i) kept += std::popcount(bits[i]);
      if (has_stray_bits(bits, columns_)) throw_bad_weight_rep("its mask keeps columns past the last one");
      row_start_.push_back(row_start_.back() + kept);
    }
    if (row_start_.back() != values_.numel())
      throw_bad_weight_rep("its mask keeps " + std::to_string(row_start_.back()) + " values, but " +
                           std::to_string(values_.numel()) + " are stored");
  }

  std::string_view format() const override { return "masked"; }
  std::int64_t rows() const override { return mask_.size(0); }
  std::int64_t columns() const override { return columns_; }
  std::vector<NamedTensor> tensors() const override { return {{"mask", mask_}, {"values", values_}}; }
  Json attributes() const override { return {{"columns", columns_}}; }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor mask = mask_.cpu(), values = values_.to(at::kCPU, at::kFloat);
    const auto* bits = mask.data_ptr<std::uint8_t>();
    const auto* kept = values.data_ptr<float>();
    const std::int64_t row_bytes = mask.size(1);
    return fill_rows(rows(), columns_, dtype, values_.device(), [&](std::int64_t row, float* out) {
      const float* next = kept + row_start_[static_cast<std::size_t>(row)];
      const std::uint8_t* row_bits = bits + row * row_bytes;
      for (std::int64_t j = 0; j < columns_; ++j) {
        const bool set = (row_bits[j >> 3] >> (j & 7)) & 1;
        out[j] = set ? *next : 0.0F;
        next += set;
      }
    });
  }

  std::shared_ptr<const WeightRep> slice(std::size_t axis, const at::Tensor& kept) const override {
    const at::Tensor ids = kept.to(values_.device());
    const auto cut = [&](const at::Tensor& whole) {
      return whole.index_select(static_cast<std::int64_t>(axis), ids);
    };
    return masked_rep(cut(decode(values_.scalar_type())), cut(unpack_bits()));
  }

 private:
  // bool [out, in]: a kept value may be zero.
  at::Tensor unpack_bits() const {
    const at::Tensor shifts = at::arange(8, mask_.options());
    const at::Tensor bits = mask_.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and_(1);
    return bits.reshape({rows(), -1}).narrow(1, 0, columns_).to(at::kBool).contiguous();
  }

  at::Tensor mask_, values_;
  std::int64_t columns_;
  std::vector<std::int64_t> row_start_;  // of each row's first value; one past the last at the end
};

at::Tensor pack_bits(const at::Tensor& keep) {
  const std::int64_t rows = keep.size(0), columns = keep.size(1), row_bytes = (columns + 7) / 8;
  at::Tensor mask = at::zeros({rows, row_bytes}, at::kByte);
  const bool* in = keep.data_ptr<bool>();
  auto* out = mask.data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      for (std::int64_t j = 0; j < columns; ++j)
        out[row * row_bytes + j / 8] |= static_cast<std::uint8_t>(in[row * columns + j] << (j % 8));
  });
  return mask;
}

}  // namespace

std::shared_ptr<const WeightRep> masked_rep(const at::Tensor& weight, const at::Tensor& keep) {
  if (weight.dim() != 2 || keep.sizes() != weight.sizes() || keep.scalar_type() != at::kBool)
    throw_bad_weight_rep("mask and weight differ in shape, or the mask is not boolean");
  if (!is_value_dtype(weight.scalar_type())) throw_bad_weight_rep("its values are not fp32, bf16 or fp16");
  const at::Tensor keep_cpu = keep.cpu().contiguous();
  return std::make_shared<MaskedRep>(pack_bits(keep_cpu).to(weight.device()), weight.masked_select(keep),
                                     weight.size(1));
}

std::shared_ptr<const WeightRep> load_masked_rep(const Json& attributes, const TensorLookup& tensor) {
  const auto columns = json_at<std::int64_t>(attributes, "columns", "attributes");
  const at::Tensor mask = tensor("mask"), values = tensor("values");
  if (mask.dim() != 2 || mask.scalar_type() != at::kByte)
    throw_bad_weight_rep("its mask is no matrix of bytes");
  if (mask.size(0) < 1 || columns < 1 || columns > mask.size(1) * 8 || mask.size(1) != (columns + 7) / 8)
    throw_bad_weight_rep("its mask has " + std::to_string(mask.size(1)) + " bytes a row, which is not " +
                         std::to_string(columns) + " bits");
  if (values.dim() != 1 || !is_value_dtype(values.scalar_type()))
    throw_bad_weight_rep("its values are no list of fp32, bf16 or fp16");
  return std::make_shared<MaskedRep>(mask, values, columns);
}

}  // namespace wring

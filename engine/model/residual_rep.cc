// The weight in levels, each the signs of what the levels before it leave and a product of thin matrices for
// its size: any first levels are a weight too, the coarser the fewer (BitStack, Wang et al., ICLR 2025).
#include "engine/model/residual_rep.h"

#include <cstring>
#include <utility>
#include <vector>

#include "engine/kernels/signed_rows.h"
#include "engine/math/matmul.h"
#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

constexpr std::int64_t kMostRowsAtOnce = 4;  // of x, without decoding
constexpr std::int64_t kRowsOfSums = 8;      // signed_sums() takes rows by so many
constexpr std::int64_t kRowsPerTask = 64;
constexpr std::int64_t kMostLevels = 64;

// negative uint8 [levels, out, ceil(in / 8)]: column j is bit j % 8 of byte j / 8, set where the sign is -1
// u, v     fp16 [levels, out, rank], [levels, rank, in]
// order    of each level's place among all layers' levels, rising
class ResidualRep final : public WeightRep {
 public:
  ResidualRep(at::Tensor negative, at::Tensor u, at::Tensor v, std::vector<std::int64_t> order)
      : negative_(std::move(negative)), u_(std::move(u)), v_(std::move(v)), order_(std::move(order)) {}

  std::string_view format() const override { return "residual"; }
  std::int64_t rows() const override { return u_.size(1); }
  std::int64_t columns() const override { return v_.size(2); }
  std::vector<NamedTensor> tensors() const override { return {{"signs", negative_}, {"u", u_}, {"v", v_}}; }
  Json attributes() const override { return {{"order", order_}}; }
  const std::vector<std::int64_t>& order() const { return order_; }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor negative = negative_.cpu(), u = u_.to(at::kCPU, at::kFloat),
                     v = v_.to(at::kCPU, at::kFloat);
    const std::int64_t row_bytes = negative.size(2), rank = u.size(2), in = columns(), out = rows();
    const auto* signs = negative.const_data_ptr<std::uint8_t>();
    const float *left = u.const_data_ptr<float>(), *right = v.const_data_ptr<float>();
    return fill_rows(out, in, dtype, u_.device(), [&](std::int64_t row, float* values) {
      std::memset(values, 0, static_cast<std::size_t>(in) * sizeof(float));
      for (std::int64_t level = 0; level < levels(); ++level)
        add_signed_row(signs + (level * out + row) * row_bytes, left + (level * out + row) * rank,
                       right + level * rank * in, rank, in, values);
    });
  }

  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return ResidualRep(negative_.index_select(1, ids), u_.index_select(1, ids), v_, order_).decode(dtype);
  }

  // y_r = sum over levels and k of u_rk (S_r . (v_k x)): the few rows of a decoding step need no weight.
  at::Tensor multiply(const at::Tensor& x) const override {
    if (x.is_cuda())  // what is packed goes to the device
      return wring::linear(x, decode_levels(negative_.to(x.device()), u_.to(x.device()), v_.to(x.device())));
    if (x.size(0) > kMostRowsAtOnce || !x.is_cpu() || rows() % kRowsOfSums != 0) return {};
    const std::int64_t rank = u_.size(2), in = columns(), out = rows();
    const at::Tensor u = u_.to(at::kFloat), v = v_.to(at::kFloat);
    const float* left = u.const_data_ptr<float>();
    at::Tensor y = at::zeros({x.size(0), out}, at::kFloat);
    std::vector<float> subsets(static_cast<std::size_t>(subset_sum_count(rank, in)));
    for (std::int64_t n = 0; n < x.size(0); ++n) {
      const at::Tensor z = (v * x[n]).contiguous(), totals = z.sum(2).contiguous();  // [levels, rank, in]
      const float *products = z.const_data_ptr<float>(), *sums = totals.const_data_ptr<float>();
      float* const values = y.mutable_data_ptr<float>() + n * out;
      for (std::int64_t level = 0; level < levels(); ++level) {
        subset_sums(products + level * rank * in, rank, in, subsets.data());
        add_level(level, subsets.data(), sums + level * rank, left + level * out * rank, values);
      }
    }
    return y;
  }

  std::shared_ptr<const WeightRep> first(std::int64_t count) const {
    return std::make_shared<ResidualRep>(
        negative_.narrow(0, 0, count), u_.narrow(0, 0, count), v_.narrow(0, 0, count),
        std::vector<std::int64_t>(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count)));
  }

  std::shared_ptr<const WeightRep> ordered(std::vector<std::int64_t> order) const {
    return std::make_shared<ResidualRep>(negative_, u_, v_, std::move(order));
  }

 private:
  std::int64_t levels() const { return static_cast<std::int64_t>(order_.size()); }

  // y_r += sum over k of u_rk (S_r . z_k), z being what `subsets` and `totals` are of.
  void add_level(std::int64_t level, const float* subsets, const float* totals, const float* u,
                 float* y) const {
    const std::int64_t rank = u_.size(2), row_bytes = negative_.size(2);
    const auto* signs = negative_.const_data_ptr<std::uint8_t>() + level * rows() * row_bytes;
    at::parallel_for(0, rows() / kRowsOfSums, kRowsPerTask / kRowsOfSums, [&](auto begin, auto end) {
      const std::int64_t first = begin * kRowsOfSums, count = (end - begin) * kRowsOfSums;
      std::vector<float> sums(static_cast<std::size_t>(count * rank));
      signed_sums(signs + first * row_bytes, row_bytes, count, subsets, totals, rank, sums.data());
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t k = 0; k < rank; ++k)
          y[first + r] +=
              u[(first + r) * rank + k] *
              sums[static_cast<std::size_t>((r / kRowsOfSums * rank + k) * kRowsOfSums + r % kRowsOfSums)];
    });
  }

  at::Tensor negative_, u_, v_;
  std::vector<std::int64_t> order_;
};

void check_factors(const at::Tensor& u, const at::Tensor& v) {
  for (const at::Tensor& factor : {u, v})
    if (factor.dim() != 3 || factor.numel() < 1 || factor.scalar_type() != at::kHalf)
      throw_bad_weight_rep("a factor is no fp16 of shape [levels, rows, columns]");
  if (u.size(0) != v.size(0) || u.size(2) != v.size(1))
    throw_bad_weight_rep("its factors differ in levels or rank");
  if (u.size(0) > kMostLevels) throw_bad_weight_rep("it has more than 64 levels");
  for (const at::Tensor& factor : {u, v})
    if (!at::isfinite(factor).all().item<bool>()) throw_bad_weight_rep("a factor holds NaN or infinity");
}

void check_order(const std::vector<std::int64_t>& order, std::int64_t levels) {
  if (static_cast<std::int64_t>(order.size()) != levels)
    throw_bad_weight_rep("its order has " + std::to_string(order.size()) + " places for " +
                         std::to_string(levels) + " levels");
  for (std::size_t i = 0; i < order.size(); ++i)
    if (order[i] < 0 || (i > 0 && order[i] <= order[i - 1]))
      throw_bad_weight_rep("the places of its levels do not rise from 0");
}

const ResidualRep* as_residual(const WeightRep& rep) {
  return dynamic_cast<const ResidualRep*>(&without_rounding(rep));
}

}  // namespace

std::shared_ptr<const WeightRep> residual_rep(const Residual& parts) {
  check_factors(parts.u, parts.v);
  const std::int64_t levels = parts.u.size(0), rows = parts.u.size(1), columns = parts.v.size(2);
  if (parts.negative.scalar_type() != at::kBool ||
      parts.negative.sizes() != at::IntArrayRef({levels, rows, columns}))
    throw_bad_weight_rep("its signs are no booleans of the levels' shape");
  const at::Tensor padded = at::constant_pad_nd(parts.negative.to(at::kByte), {0, -columns & 7});
  const at::Tensor bits = padded.reshape({levels, rows, -1, 8}).bitwise_left_shift(at::arange(8, at::kByte));
  std::vector<std::int64_t> order(static_cast<std::size_t>(levels));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  return std::make_shared<ResidualRep>(bits.sum(-1, false, at::kByte).contiguous(), parts.u.contiguous(),
                                       parts.v.contiguous(), std::move(order));
}

at::Tensor decode_levels(const at::Tensor& signs, const at::Tensor& u, const at::Tensor& v) {
  const at::Tensor shifts = at::arange(8, signs.options());
  at::Tensor weight = at::zeros({u.size(1), v.size(2)}, u.options().dtype(at::kFloat));
  for (std::int64_t level = 0; level < u.size(0); ++level) {
    const at::Tensor bits = signs[level].unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1).flatten(1);
    const at::Tensor negative = bits.narrow(1, 0, v.size(2)).to(at::kBool);
    const at::Tensor size = wring::matmul(u[level].to(at::kFloat), v[level].to(at::kFloat));
    weight += at::where(negative, -size, size);
  }
  return weight;
}

std::vector<std::int64_t> level_order(const WeightRep& rep) {
  const auto* residual = as_residual(rep);
  return residual ? residual->order() : std::vector<std::int64_t>{};
}

std::shared_ptr<const WeightRep> with_level_order(const WeightRep& rep, std::vector<std::int64_t> order) {
  const auto* residual = as_residual(rep);
  if (!residual) throw_bad_weight_rep("it has no levels");
  check_order(order, static_cast<std::int64_t>(residual->order().size()));
  return residual->ordered(std::move(order));
}

std::shared_ptr<const WeightRep> first_levels(const WeightRep& rep, std::int64_t count) {
  const auto* residual = as_residual(rep);
  if (!residual || count < 1 || count > static_cast<std::int64_t>(residual->order().size()))
    throw_bad_weight_rep("it has no " + std::to_string(count) + " levels");
  return residual->first(count);
}

std::shared_ptr<const WeightRep> load_residual_rep(const Json& attributes, const TensorLookup& tensor) {
  auto order = json_at<std::vector<std::int64_t>>(attributes, "order", "attributes");
  const at::Tensor signs = tensor("signs"), u = tensor("u"), v = tensor("v");
  check_factors(u, v);
  check_order(order, u.size(0));
  const std::int64_t columns = v.size(2);
  if (signs.scalar_type() != at::kByte ||
      signs.sizes() != at::IntArrayRef({u.size(0), u.size(1), (columns + 7) / 8}))
    throw_bad_weight_rep("its signs are not the bits of its levels' values");
  if (columns % 8 != 0 &&
      signs.select(2, signs.size(2) - 1).bitwise_right_shift(columns % 8).any().item<bool>())
    throw_bad_weight_rep("its signs have bits past the last column");
  return std::make_shared<ResidualRep>(signs, u, v, std::move(order));
}

}  // namespace wring

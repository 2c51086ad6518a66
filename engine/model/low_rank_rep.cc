// The factorised weight: a product of two thin matrices, which is applied one after the other.
#include "engine/math/matmul.h"
#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

constexpr std::int64_t kMostValues = std::int64_t{1} << 32;  // decoded: a few bytes may not ask for more

// a [rank, in], b [out, rank]: weight = b a.
class LowRankRep final : public WeightRep {
 public:
  LowRankRep(at::Tensor a, at::Tensor b) : a_(std::move(a)), b_(std::move(b)) {}

  std::string_view format() const override { return "low-rank"; }
  std::int64_t rows() const override { return b_.size(0); }
  std::int64_t columns() const override { return a_.size(1); }
  std::int64_t parameters() const override { return a_.numel() + b_.numel(); }
  std::vector<NamedTensor> tensors() const override { return {{"a", a_}, {"b", b_}}; }
  Json attributes() const override { return Json::object(); }

  at::Tensor decode(at::ScalarType dtype) const override { return product(b_).to(dtype); }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return product(b_.index_select(0, ids)).to(dtype);
  }

  // b (a x): rank (in + out) products a row of x, not in * out.
  at::Tensor multiply(const at::Tensor& x) const override {
    return wring::linear(wring::linear(x, a_.to(x.options())), b_.to(x.options()));
  }

 private:
  at::Tensor product(const at::Tensor& b) const {
    return wring::matmul(b.to(at::kFloat), a_.to(at::kFloat)).contiguous();
  }

  at::Tensor a_, b_;
};

}  // namespace

std::shared_ptr<const WeightRep> low_rank_rep(const at::Tensor& a, const at::Tensor& b) {
  for (const at::Tensor& factor : {a, b})
    if (factor.dim() != 2 || factor.numel() < 1 || !is_value_dtype(factor.scalar_type()))
      throw_bad_weight_rep("a factor is no matrix of fp32, bf16 or fp16");
  if (a.size(0) != b.size(1))
    throw_bad_weight_rep("its factors have ranks " + std::to_string(a.size(0)) + " and " +
                         std::to_string(b.size(1)));
  if (a.size(1) > kMostValues / b.size(0)) throw_bad_weight_rep("its product has more than 2^32 values");
  return std::make_shared<LowRankRep>(a.contiguous(), b.contiguous());
}

std::shared_ptr<const WeightRep> load_low_rank_rep(const Json&, const TensorLookup& tensor) {
  return low_rank_rep(tensor("a"), tensor("b"));
}

}  // namespace wring

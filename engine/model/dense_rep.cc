// The plain weight: one tensor of values.
#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

class DenseRep final : public WeightRep {
 public:
  explicit DenseRep(at::Tensor weight) : weight_(std::move(weight)) {}

  std::string_view format() const override { return "dense"; }
  std::int64_t rows() const override { return weight_.size(0); }
  std::int64_t columns() const override { return weight_.size(1); }
  at::Tensor decode(at::ScalarType dtype) const override { return weight_.to(dtype); }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return weight_.index_select(0, ids).to(dtype);
  }
  std::shared_ptr<const WeightRep> slice(std::size_t axis, const at::Tensor& kept) const override {
    return dense_rep(weight_.index_select(static_cast<std::int64_t>(axis), kept.to(weight_.device())));
  }
  std::vector<NamedTensor> tensors() const override { return {{"weight", weight_}}; }
  Json attributes() const override { return Json::object(); }

 private:
  at::Tensor weight_;
};

}  // namespace

std::shared_ptr<const WeightRep> dense_rep(at::Tensor weight) {
  if (weight.dim() != 2)
    throw_bad_weight_rep("a weight has 2 axes, this one " + std::to_string(weight.dim()));
  if (!is_value_dtype(weight.scalar_type()))
    throw_bad_weight_rep(std::string("its values are ") + at::toString(weight.scalar_type()) +
                         ", not fp32, bf16 or fp16");
  return std::make_shared<DenseRep>(weight.contiguous());
}

std::shared_ptr<const WeightRep> load_dense_rep(const Json&, const TensorLookup& tensor) {
  return dense_rep(tensor("weight"));
}

}  // namespace wring

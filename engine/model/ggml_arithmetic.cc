// Inputs in 8 bits beside GGUF's blocks, as quantize_row_q8_0 and quantize_row_q8_K of ggml round them.
#include "engine/model/ggml_arithmetic.h"

namespace wring {
namespace {

constexpr double kLargestCode = 127;

bool is_k_quant(GgmlType type) {
  return type == GgmlType::kQ2_K || type == GgmlType::kQ3_K || type == GgmlType::kQ4_K ||
         type == GgmlType::kQ5_K || type == GgmlType::kQ6_K;
}

// The weight of a layer whose inputs are rounded for it.
class ServedRep final : public WeightRep {
 public:
  ServedRep(std::shared_ptr<const WeightRep> weight, GgmlType type)
      : weight_(std::move(weight)), type_(type) {}

  std::string_view format() const override { return weight_->format(); }
  std::int64_t rows() const override { return weight_->rows(); }
  std::int64_t columns() const override { return weight_->columns(); }
  std::vector<NamedTensor> tensors() const override { return weight_->tensors(); }
  Json attributes() const override { return weight_->attributes(); }
  at::Tensor decode(at::ScalarType dtype) const override { return weight_->decode(dtype); }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return weight_->decode_rows(ids, dtype);
  }
  at::Tensor round_input(const at::Tensor& x) const override {
    return round_as_llama(x.to(at::kFloat), type_).to(x.scalar_type());
  }

 private:
  std::shared_ptr<const WeightRep> weight_;
  GgmlType type_;
};

}  // namespace

at::Tensor round_as_llama(const at::Tensor& x, GgmlType type) {
  if (ggml_block_elements(type) == 1) return x;
  const bool wide = is_k_quant(type);
  const at::Tensor groups = x.unflatten(-1, {-1, wide ? 256 : 32}), largest = groups.abs().amax(-1, true),
                   codes = (groups * (kLargestCode / largest.clamp_min(1e-30))).round();
  const at::Tensor scale = largest / kLargestCode;
  return (codes * (wide ? scale : scale.to(at::kHalf).to(at::kFloat))).reshape(x.sizes());
}

GgmlArithmetic::GgmlArithmetic(Model* model) {
  if (model)
    for (Layer* layer : model->layers()) {
      if (layer->weight().format() != "ggml") continue;
      const auto type = json_at<std::uint32_t>(layer->weight().attributes(), "type_id", layer->name());
      plain_.emplace_back(layer, layer->shared_weight());
      layer->set_weight(std::make_shared<ServedRep>(layer->shared_weight(), static_cast<GgmlType>(type)));
    }
}

GgmlArithmetic::~GgmlArithmetic() {
  for (auto& [layer, weight] : plain_) layer->set_weight(std::move(weight));
}

}  // namespace wring

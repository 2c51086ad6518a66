// Applying a layer: its materialised weight, its rep's own kernel, or decode and multiply.
#include "engine/model/layer.h"

#include <utility>

#include "common/error.h"
#include "engine/math/matmul.h"

namespace wring {

at::Tensor WeightRep::multiply(const at::Tensor& x) const {
  (void)x;
  return {};
}

at::Tensor WeightRep::round_input(const at::Tensor& x) const {
  return x;
}

at::Tensor decode_to_own(const WeightRep& rep) {
  const at::Tensor weight = rep.decode(at::kFloat).cpu().contiguous();
  const bool shared = weight.use_count() > 1 || weight.storage().use_count() > 1;
  return shared ? weight.clone() : weight;
}

at::ScalarType source_dtype(const WeightRep& rep) {
  if (rep.format() != "dense" && rep.format() != "masked") return at::kHalf;
  for (const auto& named : rep.tensors())
    if (named.tensor.is_floating_point()) return named.tensor.scalar_type();
  return at::kFloat;
}

at::Tensor WeightRep::decode_rows(const at::Tensor& ids, at::ScalarType dtype) const {
  return decode(dtype).index_select(0, ids);
}

std::shared_ptr<const WeightRep> WeightRep::slice(std::size_t axis, const at::Tensor& kept) const {
  (void)axis;
  (void)kept;
  return nullptr;
}

std::uint64_t WeightRep::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& named : tensors()) bytes += named.tensor.nbytes();
  return bytes;
}

Layer::Layer(std::string name, Operator op, std::shared_ptr<const WeightRep> weight, at::Tensor bias,
             std::vector<std::string> axes, std::string input_tap)
    : name_(std::move(name)),
      op_(op),
      weight_(std::move(weight)),
      bias_(std::move(bias)),
      axes_(std::move(axes)),
      input_tap_(std::move(input_tap)) {}

std::string Layer::class_name() const {
  return op_ == Operator::kLinear ? "Linear" : "Embedding";
}

void Layer::set_weight(std::shared_ptr<const WeightRep> weight) {
  if (weight->rows() != weight_->rows() || weight->columns() != weight_->columns())
    throw Error(ErrorCode::kInternal, "SHAPE_CHANGED", "a new weight of another shape for layer " + name_);
  const auto rounding = input_rounding(*weight_);
  weight_ = rounding && !input_rounding(*weight) ? rounded_input_rep(std::move(weight), *rounding)
                                                 : std::move(weight);
  release();
}

Layer Layer::without_rounding() const {
  Layer plain = *this;
  plain.weight_ = {weight_, &wring::without_rounding(*weight_)};
  return plain;
}

void Layer::set_bias(at::Tensor bias) {
  if (bias.dim() != 1 || bias.size(0) != weight_->rows())
    throw Error(ErrorCode::kInternal, "SHAPE_CHANGED", "a bias of another length for layer " + name_);
  bias_ = bias.to(device_);
}

// GGUF's blocks, as a model is handed in, do not survive a cut: keep() decodes them.
bool Layer::can_be_cut() const {
  return weight_->format() == "ggml" || weight_->slice(0, at::zeros({1}, at::kLong));
}

void Layer::keep(std::size_t axis, const at::Tensor& indices) {
  auto weight = weight_->slice(axis, indices);
  if (!weight && weight_->format() == "ggml")
    weight = dense_rep(weight_->decode(at::kFloat))->slice(axis, indices);
  if (!weight)
    throw Error(ErrorCode::kInvalidArgument, "NOT_SLICEABLE",
                "a " + std::string(weight_->format()) + " weight cannot be cut", name_,
                "Prune before the stage that quantises, or hand in the model before it was quantised.");
  weight_ = std::move(weight);
  if (axis == 0 && bias_.defined()) bias_ = bias_.index_select(0, indices.to(bias_.device()));
  release();
}

void Layer::rename(std::string name, std::vector<std::string> axes, std::string input_tap) {
  name_ = std::move(name);
  axes_ = std::move(axes);
  input_tap_ = std::move(input_tap);
}

void Layer::compute_on(at::Device device) {
  device_ = device;
  if (bias_.defined()) bias_ = bias_.to(device);
  release();
}

void Layer::materialize(at::ScalarType dtype) {
  if (!dense_.defined() || dense_.scalar_type() != dtype) dense_ = weight_->decode(dtype).to(device_);
}

void Layer::stand_in(at::Tensor weight) {
  if (weight.dim() != 2 || weight.size(0) != weight_->rows() || weight.size(1) != weight_->columns())
    throw Error(ErrorCode::kInternal, "SHAPE_CHANGED", "a weight of another shape for layer " + name_);
  dense_ = std::move(weight);
}

void Layer::observe(const at::Tensor& x, InputObserver* observer) const {
  if (observer) observer->on_input(*this, x.reshape({-1, x.size(-1)}));
}

at::Tensor Layer::apply(const at::Tensor& input, InputObserver* observer) const {
  observe(input, observer);
  const at::Tensor x = weight_->round_input(input);
  if (dense_.defined()) {
    const auto dtype = dense_.scalar_type();
    return wring::linear(x.to(dtype), dense_, bias_.defined() ? bias_.to(dtype) : bias_).to(x.scalar_type());
  }
  const at::Tensor bias = bias_.defined() ? bias_.to(x.scalar_type()) : bias_;
  if (x.scalar_type() == at::kFloat) {
    auto shape = x.sizes().vec();
    at::Tensor y = weight_->multiply(x.reshape({-1, x.size(-1)}));
    if (y.defined()) {
      shape.back() = y.size(-1);
      y = y.reshape(shape);
      return bias.defined() ? y.add_(bias) : y;
    }
  }
  return wring::linear(x, weight_->decode(x.scalar_type()).to(device_), bias);
}

at::Tensor Layer::look_up(const at::Tensor& ids, at::ScalarType dtype) const {
  auto shape = ids.sizes().vec();
  shape.push_back(weight_->columns());
  const at::Tensor rows = ids.reshape({-1});
  const std::int64_t largest = rows.numel() == 0 ? 0 : rows.max().item<std::int64_t>();
  if (largest >= weight_->rows())
    throw Error(ErrorCode::kInvalidArgument, "TOKEN_OUT_OF_VOCABULARY",
                "the tokenizer gives id " + std::to_string(largest) + ", the model's embedding has " +
                    std::to_string(weight_->rows()) + " rows",
                name_, "Hand in the tokenizer that the model was trained with.");
  return (dense_.defined() ? dense_.index_select(0, rows).to(dtype)
                           : weight_->decode_rows(rows.cpu(), dtype).to(device_))
      .reshape(shape);
}

DecodedLayers::DecodedLayers(std::vector<Layer*> layers, at::ScalarType dtype) {
  for (Layer* layer : layers) {
    if (layer->is_materialized()) continue;  // whoever did that releases it
    layer->materialize(dtype);
    layers_.push_back(layer);
  }
}

DecodedLayers::~DecodedLayers() {
  for (Layer* layer : layers_) layer->release();
}

}  // namespace wring

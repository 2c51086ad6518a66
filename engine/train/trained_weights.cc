// Leaves stand in for decoded weights; the layers apply them as any other.
#include "engine/train/trained_weights.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/calibrate.h"

namespace wring {
namespace {

bool is_masked(const Layer& layer) {
  return without_rounding(layer.weight()).format() == "masked";
}

// N(0, 1 / in) where the product starts: with b zero the first forward is the frozen weight's.
at::Tensor first_factor(std::int64_t rank, std::int64_t in, at::Generator& generator) {
  return at::randn({rank, in}, generator) / std::sqrt(static_cast<double>(in));
}

void restore(const std::map<std::string, at::Tensor>& state, const std::string& name, at::Tensor& into) {
  const auto it = state.find(name);
  if (it == state.end() || it->second.sizes() != into.sizes())
    throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "no trained tensor " + name + " of this shape");
  const c10::NoGradGuard unrecorded;
  into.copy_(it->second);
}

at::Tensor multiplied_by(at::Tensor weight, const WeightFactors& factors) {
  if (factors.rows.defined()) weight = weight * factors.rows.unsqueeze(1);
  if (factors.columns.defined()) weight = weight * factors.columns;
  return weight;
}

}  // namespace

TrainedParts TrainedParts::from(const Params& params) {
  TrainedParts parts;
  if (params.has("rank")) {
    parts.rank = params.get<std::int64_t>("rank");
    parts.alpha = params.get<double>("alpha");
  }
  if (params.has("vectors")) parts.vectors = params.get<bool>("vectors");
  parts.source = params.get<std::string>("value_dtype") == "source";
  if (!parts.source) parts.dtype = params.dtype("value_dtype");
  return parts;
}

void TrainedParts::store(Layer& layer, const at::Tensor& weight, const at::Tensor& keep) const {
  const at::Tensor stored = weight.to(source ? source_dtype(layer.weight()) : dtype).cpu().contiguous();
  layer.set_weight(keep.defined() ? masked_rep(stored, keep.cpu()) : dense_rep(stored));
}

void check_trainable(const std::set<const Layer*>& targets) {
  for (const Layer* layer : targets) {
    const auto format = layer->weight().format();
    if (format != "dense" && format != "ggml" && format != "masked")
      throw Error(ErrorCode::kInvalidArgument, "NOT_TRAINABLE",
                  "its weight is stored as " + std::string(format) + ", which has no room for other values",
                  layer->name(), "Train before the stages that quantise or factorise.");
  }
}

TrainedWeights::TrainedWeights(const StageInput& stage, const TrainedParts& parts)
    : model_(stage.model),
      products_(stage.calibration.forward),
      parts_(parts),
      decoded_(stage.model.layers(), products_) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(stage.seed);
  for (Layer* layer : model_.layers()) {
    if (!stage.targets.contains(layer)) continue;
    Trained trained{layer, layer->weight().decode(at::kFloat).to(model_.device()), {}, {}, {}, {}, {}};
    if (parts.rank > 0) {
      trained.a = add_leaf(first_factor(parts.rank, layer->weight().columns(), generator));
      trained.b = add_leaf(at::zeros({layer->weight().rows(), parts.rank}));
    } else {
      trained.leaf = add_leaf(trained.first.clone());
    }
    layers_.push_back(std::move(trained));
    take_given_mask();
  }
  if (parts.vectors) add_vectors();
}

TrainedWeights::~TrainedWeights() {
  for (const auto& trained : layers_) {
    trained.layer->release();
    if (trained.bias.defined()) trained.layer->set_bias(trained.bias);
  }
  for (auto& [parameter, dtype] : gains_) parameter->value = parameter->value.detach().to(dtype);
  for (auto& [layer, dtype] : biases_) layer->set_bias(layer->bias().detach().to(dtype));
}

void TrainedWeights::take_given_mask() {
  if (!is_masked(*layers_.back().layer)) return;
  layers_.back().given = layers_.back().first.ne(0);
  set_mask(layers_.size() - 1, layers_.back().given);
}

void TrainedWeights::add_vectors() {
  for (auto& parameter : model_.parameters()) {
    if (parameter.value.dim() != 1) continue;
    gains_.emplace_back(&parameter, parameter.value.scalar_type());
    parameter.value = add_leaf(parameter.value.to(at::kFloat).clone());
  }
  for (Layer* layer : model_.layers()) {
    if (!layer->bias().defined()) continue;
    biases_.emplace_back(layer, layer->bias().scalar_type());
    layer->set_bias(add_leaf(layer->bias().to(at::kFloat).clone()));
  }
}

at::Tensor TrainedWeights::add_leaf(const at::Tensor& value) {
  leaves_.push_back(value.to(model_.device()).requires_grad_(true));
  return leaves_.back();
}

at::Tensor TrainedWeights::combined(const Trained& trained) const {
  if (trained.leaf.defined()) return trained.leaf;
  if (!trained.a.defined()) return trained.first;
  return trained.first + at::mm(trained.b, trained.a) * (parts_.alpha / static_cast<double>(parts_.rank));
}

at::Tensor TrainedWeights::value(std::size_t i) const {
  const c10::NoGradGuard unrecorded;
  return combined(layers_[i]).detach();
}

void TrainedWeights::refresh() {
  for (const auto& trained : layers_) {
    const WeightFactors factors = factors_of(trained);
    const at::Tensor weight = trained.mask.defined() ? combined(trained) * trained.mask : combined(trained);
    trained.layer->stand_in(multiplied_by(weight, factors).to(products_));
    if (trained.bias.defined())
      trained.layer->set_bias(factors.rows.defined() ? trained.bias * factors.rows : trained.bias);
  }
}

void TrainedWeights::multiply(const std::vector<Layer*>& layers,
                              std::function<WeightFactors(const Layer&)> factors) {
  factors_ = std::move(factors);
  for (Layer* layer : layers) {
    auto it = std::find_if(layers_.begin(), layers_.end(),
                           [&](const Trained& trained) { return trained.layer == layer; });
    if (it == layers_.end()) {
      layers_.push_back({layer, layer->weight().decode(at::kFloat).to(model_.device()), {}, {}, {}, {}, {}});
      take_given_mask();
      it = std::prev(layers_.end());
    }
    it->multiplied = true;
    it->bias = layer->bias();
  }
}

WeightFactors TrainedWeights::factors_of(const Trained& trained) const {
  return trained.multiplied ? factors_(*trained.layer) : WeightFactors{};
}

void TrainedWeights::set_mask(std::size_t i, const at::Tensor& keep) {
  auto& trained = layers_[i];
  trained.mask = keep.to(model_.device(), at::kFloat);
  if (trained.given.defined()) trained.mask = trained.mask * trained.given;
  if (trained.leaf.defined()) trained.held = value(i).clone();
}

void TrainedWeights::hold() {
  const c10::NoGradGuard unrecorded;
  for (auto& trained : layers_)
    if (trained.held.defined()) trained.leaf.copy_(at::where(trained.mask.ne(0), trained.leaf, trained.held));
}

std::vector<Json> TrainedWeights::store() {
  const c10::NoGradGuard unrecorded;
  std::vector<Json> lines;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    auto& trained = layers_[i];
    Layer& layer = *trained.layer;
    const at::Tensor weight = value(i),
                     keep = trained.mask.defined() ? trained.mask.to(at::kBool) : at::Tensor();
    const at::Tensor moved =
        keep.defined() ? (weight - trained.first) * trained.mask : weight - trained.first;
    const WeightFactors factors = factors_of(trained);
    parts_.store(layer, multiplied_by(weight, factors), keep);
    if (trained.bias.defined() && factors.rows.defined())
      trained.bias = (trained.bias * factors.rows).to(trained.bias.scalar_type());
    const auto weights = static_cast<double>(weight.numel());
    lines.push_back({{"layer", layer.name()},
                     {"shape", {weight.size(0), weight.size(1)}},
                     {"change", (moved.norm() / trained.first.norm().clamp_min(1e-30)).item<double>()},
                     {"sparsity", keep.defined() ? 1 - keep.sum().item<double>() / weights : 0.0},
                     {"bits", static_cast<double>(layer.weight().stored_bytes()) * 8 / weights}});
  }
  return lines;
}

std::vector<NamedTensor> TrainedWeights::state() const {
  std::vector<NamedTensor> state;
  for (std::size_t i = 0; i < leaves_.size(); ++i)
    state.push_back({"leaf." + std::to_string(i), leaves_[i].detach().cpu()});
  for (std::size_t i = 0; i < layers_.size(); ++i)
    if (layers_[i].mask.defined())
      state.push_back({"mask." + std::to_string(i), layers_[i].mask.to(at::kByte).cpu()});
  return state;
}

void TrainedWeights::set_state(const std::map<std::string, at::Tensor>& state) {
  for (std::size_t i = 0; i < leaves_.size(); ++i) restore(state, "leaf." + std::to_string(i), leaves_[i]);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto it = state.find("mask." + std::to_string(i));
    if (it == state.end()) continue;
    if (it->second.sizes() != layers_[i].first.sizes())
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "a mask of another shape");
    set_mask(i, it->second);
  }
}

}  // namespace wring

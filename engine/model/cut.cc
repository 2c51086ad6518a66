// The one eraser: coupled groups and blocks leave a model, and every parameter, name and label follows.
#include <algorithm>
#include <utility>

#include "common/error.h"
#include "engine/model/model.h"

namespace wring {
namespace {

// Of the groups' labels the one on this axis; null: another axis.
const CoupledGroups::Axis* find_axis(const CoupledGroups& groups, const std::string& label) {
  const auto it = std::find_if(groups.axes.begin(), groups.axes.end(),
                               [&](const CoupledGroups::Axis& axis) { return axis.label == label; });
  return it == groups.axes.end() ? nullptr : &*it;
}

bool carries(const CoupledGroups& groups, const std::vector<std::string>& axes) {
  return std::any_of(axes.begin(), axes.end(),
                     [&](const std::string& label) { return find_axis(groups, label) != nullptr; });
}

// Groups [n] -> their indices on an axis [n * width].
at::Tensor indices_of(const at::Tensor& kept, std::int64_t width) {
  return (kept.unsqueeze(1) * width + at::arange(width, at::kLong)).reshape({-1});
}

void check_sliceable(const Layer& layer) {
  Layer probe = layer;
  probe.keep(0, at::zeros({1}, at::kLong));
}

// "L7.ffn" -> "L6.ffn"; "model.layers.7.mlp" -> "model.layers.6.mlp". Others stay.
std::string moved(const std::string& name, const std::string& from, const std::string& to) {
  return name.starts_with(from) ? to + name.substr(from.size()) : name;
}

std::string label_prefix(std::size_t block) {
  return "L" + std::to_string(block) + ".";
}

}  // namespace

std::int64_t Model::weights_per_group(const CoupledGroups& groups) const {
  std::int64_t weights = 0;
  for (const auto& layer : layers_)
    for (std::size_t i = 0; i < layer.axes().size(); ++i)
      if (const auto* axis = find_axis(groups, layer.axes()[i]))
        weights += axis->width * (i == 0 ? layer.weight().columns() : layer.weight().rows());
  return weights;
}

Layer& Model::reader_of(const CoupledGroups& groups) {
  const auto it = std::find_if(layers_.begin(), layers_.end(),
                               [&](const Layer& layer) { return find_axis(groups, layer.axes().at(1)); });
  if (groups.kind == CoupledGroups::Kind::kHidden || it == layers_.end())
    throw Error(ErrorCode::kInternal, "NO_READER", "no one layer reads these groups");
  return *it;
}

void Model::keep_groups(const CoupledGroups& groups, const at::Tensor& kept) {
  for (const auto& layer : layers_)
    if (carries(groups, layer.axes())) check_sliceable(layer);
  if (kept.numel() == 0) {
    if (Layer& reader = reader_of(groups); reader.bias().defined())
      add_parameter({reader.name() + ".bias", reader.bias(), {reader.axes().front()}});
    layers_.remove_if([&](const Layer& layer) { return carries(groups, layer.axes()); });
    parameters_.remove_if([&](const Parameter& p) { return carries(groups, p.axes); });
    return adopt_layers();
  }
  for (auto& layer : layers_)
    for (std::size_t i = 0; i < layer.axes().size(); ++i)
      if (const auto* axis = find_axis(groups, layer.axes()[i])) layer.keep(i, indices_of(kept, axis->width));
  for (auto& parameter : parameters_)
    for (std::size_t i = 0; i < parameter.axes.size(); ++i)
      if (const auto* axis = find_axis(groups, parameter.axes[i]))
        parameter.value = parameter.value.index_select(
            static_cast<std::int64_t>(i), indices_of(kept, axis->width).to(parameter.value.device()));
  adopt_layers();
}

void Model::drop_block(std::size_t block) {
  const std::size_t count = block_count();
  if (block >= count || count == 1)
    throw Error(ErrorCode::kInternal, "NO_BLOCK", "no block that may be dropped: " + std::to_string(block));
  layers_.remove_if([&](const Layer& layer) { return layer.name().starts_with(block_prefix(block)); });
  parameters_.remove_if([&](const Parameter& p) { return p.name.starts_with(block_prefix(block)); });
  for (std::size_t from = block + 1; from < count; ++from) {
    const auto name = [&](const std::string& old) {
      return moved(old, block_prefix(from), block_prefix(from - 1));
    };
    const auto label = [&](const std::string& old) {
      return moved(old, label_prefix(from), label_prefix(from - 1));
    };
    const auto labels = [&](std::vector<std::string> axes) {
      std::transform(axes.begin(), axes.end(), axes.begin(), label);
      return axes;
    };
    for (auto& layer : layers_)
      layer.rename(name(layer.name()), labels(layer.axes()), label(layer.input_tap()));
    for (auto& parameter : parameters_) {
      parameter.name = name(parameter.name);
      parameter.axes = labels(parameter.axes);
    }
  }
  adopt_layers();
}

}  // namespace wring

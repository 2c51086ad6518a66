// Labels say which gates a matrix's rows and columns have.
#include "engine/train/gated_groups.h"

#include <utility>

namespace wring {

using Kind = CoupledGroups::Kind;

GatedGroups::GatedGroups(Model& model, std::vector<CoupledGroups> parts,
                         const std::set<const Layer*>& counted)
    : parts_(std::move(parts)) {
  for (Layer* layer : model.layers()) {
    const Matrix all{side_of(*layer, 0), side_of(*layer, 1)};
    if (counted.contains(layer)) {
      counted_.push_back(all);
      weights_ += static_cast<double>(layer->weight().rows() * layer->weight().columns());
    }
    Matrix gated = all;
    const auto is_hidden = [&](const Side& side) {
      return side.part && parts_[*side.part].kind == Kind::kHidden;
    };
    if (!is_hidden(all.rows)) gated.rows.part.reset();
    if (is_hidden(all.columns) && layer->class_name() != "Embedding") gated.columns.part.reset();
    if (!gated.rows.part && !gated.columns.part) continue;
    gated_.emplace(layer, gated);
    multiplied_.push_back(layer);
  }
}

GatedGroups::Side GatedGroups::side_of(const Layer& layer, std::size_t axis) const {
  for (std::size_t i = 0; i < parts_.size(); ++i)
    for (const auto& gated : parts_[i].axes)
      if (gated.label == layer.axes()[axis]) return {i, gated.width};
  return {std::nullopt, axis == 0 ? layer.weight().rows() : layer.weight().columns()};
}

WeightFactors GatedGroups::factors(const Layer& layer, const std::vector<at::Tensor>& gates) const {
  const auto along = [&](const Side& side) {
    if (!side.part) return at::Tensor();
    const at::Tensor& z = gates[*side.part];
    return side.width == 1 ? z : z.repeat_interleave(side.width);
  };
  const Matrix& gated = gated_.at(&layer);
  return {along(gated.rows), along(gated.columns)};
}

at::Tensor GatedGroups::weights_left(const std::vector<at::Tensor>& kept) const {
  std::vector<at::Tensor> groups;
  for (const auto& part : kept) groups.push_back(part.sum(at::kDouble));
  at::Tensor left = at::zeros({}, at::TensorOptions(at::kDouble).device(kept.front().device()));
  for (const auto& [rows, columns] : counted_) {
    const auto width = static_cast<double>(rows.width * columns.width);
    if (rows.part && columns.part)
      left = left + groups[*rows.part] * groups[*columns.part] * width;
    else if (rows.part || columns.part)
      left = left + groups[rows.part ? *rows.part : *columns.part] * width;
    else
      left = left + width;
  }
  return left;
}

}  // namespace wring

// Units as rows of index lists, so that a score of all of them is one sum a parameter.
#include "engine/methods/graph/units.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "common/error.h"
#include "engine/graph/macs.h"

namespace wring {
namespace {

constexpr double kMostDifference = 1e-3;

// How many units of each family are left, and whose each unit is.
struct Left {
  Left(const GraphLabels& labels, const std::vector<bool>& removed)
      : family_of(labels.units.size()), units(labels.families.size()) {
    for (std::size_t f = 0; f < labels.families.size(); ++f)
      for (const auto unit : labels.families[f].units) {
        family_of[unit] = f;
        units[f] += !removed[unit];
      }
  }
  std::size_t& of(std::size_t unit) { return units[family_of[unit]]; }

  std::vector<std::size_t> family_of, units;
};

// The last that were added stay in a family that is no multiple.
void round_up(Left& left, std::size_t multiple, std::vector<bool>& removed, std::vector<std::size_t>& added) {
  for (std::size_t i = added.size(); i-- > 0;) {
    const auto unit = added[i];
    if (left.of(unit) % multiple == 0) continue;
    removed[unit] = false;
    ++left.of(unit);
    added.erase(added.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// A tensor of the size of the axis, to be broadcast along it.
at::Tensor along(const at::Tensor& values, std::int64_t axis, std::int64_t rank) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(rank), 1);
  shape[static_cast<std::size_t>(axis)] = values.size(0);
  return values.view(shape);
}

at::Tensor sum_but(const at::Tensor& values, std::int64_t axis) {
  std::vector<std::int64_t> others;
  for (std::int64_t i = 0; i < values.dim(); ++i)
    if (i != axis) others.push_back(i);
  return others.empty() ? values.to(at::kDouble) : values.sum(others, false, at::kDouble);
}

double difference(const NamedValues& a, const NamedValues& b) {
  double most = 0;
  for (const auto& [name, value] : a) {
    const at::Tensor &other = b.at(name),
                     same = (value == other).logical_or(value.isnan().logical_and(other.isnan()));
    const at::Tensor apart = (value - other).abs() / value.abs().clamp_min(1);
    const double away = apart.masked_fill(same, 0).max().item<double>();
    if (std::isnan(away)) return away;
    most = std::max(most, away);
  }
  return most;
}

Json family_line(const GraphLabels& labels, const UnitFamily& family, const std::vector<bool>& gone) {
  const auto left =
      std::count_if(family.units.begin(), family.units.end(), [&](auto unit) { return !gone[unit]; });
  const auto& unit = labels.units[family.units.front()];
  const auto& slice = unit.producers.empty() ? unit.slices.front() : unit.producers.front();
  return {{"layer", slice.tensor}, {"units", left}, {"of", family.units.size()}};
}

}  // namespace

UnitValues::UnitValues(Graph& graph, const GraphLabels& labels, Of of)
    : graph_(graph), count_(static_cast<std::int64_t>(labels.units.size())) {
  std::map<std::string, std::size_t> numbers;
  for (const auto& parameter : graph.parameters()) numbers.emplace(parameter.name, numbers.size());
  std::map<std::pair<std::size_t, std::int64_t>,
           std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>>
      places;
  for (std::size_t unit = 0; unit < labels.units.size(); ++unit)
    for (const auto& slice :
         of == Of::kProducers ? labels.units[unit].producers : labels.units[unit].slices) {
      const auto it = numbers.find(slice.tensor);
      if (it == numbers.end()) continue;
      auto& [indices, units] = places[{it->second, slice.axis}];
      indices.insert(indices.end(), slice.indices.begin(), slice.indices.end());
      units.insert(units.end(), slice.indices.size(), static_cast<std::int64_t>(unit));
    }
  for (const auto& [place, lists] : places)
    places_.push_back({place.first, place.second, at::tensor(lists.first, at::kLong).to(graph.device()),
                       at::tensor(lists.second, at::kLong).to(graph.device())});
  const auto values = parameters();
  lengths_ = sum([&](std::size_t i) { return at::ones_like(values[i]); });
}

std::vector<at::Tensor> UnitValues::parameters() const {
  std::vector<at::Tensor> values;
  for (const auto& parameter : graph_.parameters()) values.push_back(parameter.value.detach());
  return values;
}

at::Tensor UnitValues::sum(const std::function<at::Tensor(std::size_t parameter)>& value) const {
  const c10::NoGradGuard unrecorded;
  at::Tensor sums = at::zeros({count_}, at::TensorOptions(at::kDouble).device(graph_.device()));
  for (const auto& place : places_) {
    const at::Tensor values = value(place.parameter);
    if (values.defined())
      sums.index_add_(0, place.units, sum_but(values, place.axis).index_select(0, place.indices));
  }
  return sums.cpu();
}

at::Tensor UnitValues::squares() const {
  const auto values = parameters();
  return sum([&](std::size_t i) { return values[i].square(); });
}

at::Tensor UnitValues::dot(const std::vector<at::Tensor>& others) const {
  const auto values = parameters();
  return sum([&](std::size_t i) { return values[i] * others[i]; });
}

at::Tensor UnitValues::spread(const Place& place, const at::Tensor& factors, double others,
                              const at::Tensor& like) const {
  at::Tensor by_index = at::full({like.size(place.axis)}, others, like.options());
  by_index.index_copy_(0, place.indices,
                       factors.to(like.device(), like.scalar_type()).index_select(0, place.units));
  return along(by_index, place.axis, like.dim());
}

void UnitValues::scale(const at::Tensor& factors) const {
  const c10::NoGradGuard unrecorded;
  const auto values = parameters();
  for (const auto& place : places_) {
    at::Tensor value = values[place.parameter];
    value.mul_(spread(place, factors, 1, value));
  }
}

void UnitValues::add(const at::Tensor& factors, const std::vector<at::Tensor>& others) const {
  const c10::NoGradGuard unrecorded;
  const auto values = parameters();
  for (const auto& place : places_) {
    at::Tensor value = values[place.parameter];
    value.addcmul_(spread(place, factors, 0, value), others[place.parameter]);
  }
}

GraphLabels units_of(const GraphStage& stage, const NamedValues& example) {
  const c10::NoGradGuard unrecorded;
  const GraphLabels labels = infer_labels(stage.graph, example);
  if (labels.units.empty())
    throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_CUT",
                "nothing can be cut out of this graph without a change of its outputs", "model",
                "docs/graphs.md says what is a barrier.");
  return stage.targets.chosen(stage.graph, labels);
}

std::vector<std::size_t> choose_units(const GraphLabels& labels, const at::Tensor& scores, std::size_t total,
                                      std::int64_t multiple, std::vector<bool>& removed) {
  Left left(labels, removed);
  const at::Tensor order = scores.argsort(/*stable=*/true, 0, false);
  std::size_t gone = static_cast<std::size_t>(std::count(removed.begin(), removed.end(), true));
  std::vector<std::size_t> added;
  const auto lots = static_cast<std::size_t>(multiple);
  for (std::int64_t i = 0; i < order.size(0) && gone < total; ++i) {
    const auto unit = static_cast<std::size_t>(order[i].item<std::int64_t>());
    if (removed[unit] || left.of(unit) <= lots) continue;
    if (std::isinf(scores[static_cast<std::int64_t>(unit)].item<double>())) break;
    removed[unit] = true;
    --left.of(unit);
    ++gone;
    added.push_back(unit);
  }
  round_up(left, lots, removed, added);
  return added;
}

OneShot OneShot::from(const Params& params) {
  return {params.get<double>("target_group_sparsity"), params.get<std::string>("scope") == "family",
          params.get<std::int64_t>("group_divisible")};
}

std::vector<std::size_t> least_units(const GraphLabels& labels, const at::Tensor& scores,
                                     const OneShot& cut) {
  const auto share_of = [&](std::size_t count) {
    return static_cast<std::size_t>(std::floor(cut.target * static_cast<double>(count)));
  };
  std::vector<bool> removed(labels.units.size());
  if (!cut.by_family)
    return choose_units(labels, scores, share_of(labels.units.size()), cut.multiple, removed);
  std::vector<std::size_t> units;
  for (const auto& family : labels.families) {
    GraphLabels alone;
    UnitFamily numbers;
    std::vector<double> own;
    for (const auto unit : family.units) {
      numbers.units.push_back(alone.units.size());
      alone.units.push_back(labels.units[unit]);
      own.push_back(scores[static_cast<std::int64_t>(unit)].item<double>());
    }
    alone.families = {numbers};
    std::vector<bool> gone(own.size());
    for (const auto i :
         choose_units(alone, at::tensor(own, at::kDouble), share_of(own.size()), cut.multiple, gone))
      units.push_back(family.units[i]);
  }
  return units;
}

void keep_multiples(const GraphLabels& labels, std::int64_t multiple, std::vector<std::size_t>& removed) {
  std::vector<bool> gone(labels.units.size());
  for (const auto unit : removed) gone[unit] = true;
  Left left(labels, gone);
  round_up(left, static_cast<std::size_t>(multiple), gone, removed);
}

void check_cut(const Graph& zeroed, const OnnxModel& model, const NamedValues& example, Json& report) {
  const c10::NoGradGuard unrecorded;
  Graph cut(model);
  cut.compute_on(zeroed.device());
  const double away = difference(zeroed.run(example), cut.run(example));
  if (!(away <= kMostDifference))
    throw Error(ErrorCode::kInternal, "CUT_CHANGED_OUTPUTS",
                "the cut network's outputs differ by " + std::to_string(away) +
                    " from those with what left it at zero",
                "model");
  report["parameters"] = {{"before", zeroed.parameter_count()}, {"after", cut.parameter_count()}};
  report["macs"] = {{"before", macs_of(zeroed, example)}, {"after", macs_of(cut, example)}};
  report["difference"] = away;
}

OnnxModel cut_units(Graph& graph, const GraphLabels& labels, const std::vector<std::size_t>& removed,
                    const NamedValues& example, Json& report) {
  const c10::NoGradGuard unrecorded;
  zero_units(graph, labels, removed);
  OnnxModel model = erase_units(graph, labels, removed);
  check_cut(graph, model, example, report);
  std::vector<bool> gone(labels.units.size());
  for (const auto unit : removed) gone[unit] = true;
  report["units"] = labels.units.size();
  report["removed"] = removed.size();
  report["layers"] = Json::array();
  for (const auto& family : labels.families) report["layers"].push_back(family_line(labels, family, gone));
  return model;
}

}  // namespace wring

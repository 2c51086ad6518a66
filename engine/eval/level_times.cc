// One layer of each shape, compressed to each level and timed.
#include "engine/eval/level_times.h"

#include <numeric>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/statistics.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/eval/suite.h"

namespace wring {
namespace {

struct Shape {
  std::vector<const Layer*> layers;
  std::vector<std::size_t> levels;
};

// As `levels_of` has it, in the order of the model's layers.
std::vector<Shape> shapes_of(Model& model, const std::vector<Level>& levels) {
  std::vector<std::pair<Json, Shape>> shapes;
  const auto multiplied = statistics_targets(model);
  for (const Layer* layer : model.layers()) {
    if (!multiplied.contains(layer)) continue;
    std::vector<std::size_t> taken;
    for (std::size_t i = 0; i < levels.size(); ++i)
      if (levels[i].can_take(*layer)) taken.push_back(i);
    if (taken.empty()) continue;
    const WeightRep& weight = layer->weight();
    const Json key{weight.rows(), weight.columns(), weight.format(), weight.attributes(), taken};
    auto it =
        std::find_if(shapes.begin(), shapes.end(), [&](const auto& known) { return known.first == key; });
    if (it == shapes.end()) it = shapes.insert(it, {key, {{}, taken}});
    it->second.layers.push_back(layer);
  }
  std::vector<Shape> list;
  for (auto& [key, shape] : shapes) list.push_back(std::move(shape));
  return list;
}

// One token through the weight, decoded beforehand where it has no kernel, as decoding has it.
std::function<void()> pass_through(std::shared_ptr<const WeightRep> weight, at::Device device) {
  const at::Tensor x = at::ones({1, weight->columns()}, at::TensorOptions(at::kFloat).device(device));
  if (weight->multiply(x).defined()) return [weight, x] { (void)weight->multiply(x)[0][0].item<float>(); };
  return [decoded = weight->decode(at::kFloat).t(), x] { (void)at::matmul(x, decoded)[0][0].item<float>(); };
}

}  // namespace

Json level_times(Model& model, const std::vector<Level>& levels, std::int64_t repeats, Progress& progress,
                 const Timer& timer) {
  const auto shapes = shapes_of(model, levels);
  std::vector<std::function<void()>> passes;
  for (const auto& shape : shapes) {
    const Layer& layer = *shape.layers.front();
    passes.push_back(pass_through(layer.shared_weight(), model.device()));
    Statistics unit(layer.weight().columns(), {Statistic::kHessian}, model.device());
    unit.add(at::eye(layer.weight().columns(), at::TensorOptions(at::kFloat).device(model.device())));
    for (auto& version : versions_of(levels, layer, unit))
      passes.push_back(pass_through(std::move(version.weight), model.device()));
  }
  const auto seconds = median_seconds(passes, repeats, progress, timer);
  Json table = Json::array();
  auto next = seconds.begin();
  for (const auto& shape : shapes) {
    const WeightRep& weight = shape.layers.front()->weight();
    Json row{{"rows", weight.rows()}, {"columns", weight.columns()}, {"seconds", *next++}};
    for (const Layer* layer : shape.layers) row["layers"].push_back(layer->name());
    for (const auto level : shape.levels) row["levels"].push_back({{"level", level}, {"seconds", *next++}});
    table.push_back(std::move(row));
  }
  return table;
}

namespace {

std::vector<EvaluationRow> level_times_suite(const Params& params, EvaluationInput& input) {
  const auto repeats = params.get<std::int64_t>("repeats");
  Json table = level_times(input.model, make_levels(params, "levels"), repeats, input.progress);
  if (table.empty())
    throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", "no layer of this model takes one of the levels",
                params.field("levels"), "See their targets, ignore and group sizes.");
  EvaluationRow row;
  row.suite = "level-times";
  row.metric = "layer_seconds";
  row.unit = "s";
  for (const auto& shape : table)
    row.value += shape.at("seconds").get<double>() * static_cast<double>(shape.at("layers").size());
  row.n = static_cast<std::uint64_t>(repeats);
  row.details = {{"shapes", std::move(table)}};
  return {row};
}

WRING_SUITE("level-times", level_times_suite);

}  // namespace
}  // namespace wring

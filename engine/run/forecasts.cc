// Methods are tried out on a block, or on a few steps.
#include "engine/run/forecasts.h"

#include <tuple>

#include "engine/calibrate/stored_statistics.h"
#include "engine/math/matmul.h"
#include "engine/run/graph_forecast.h"
#include "engine/run/hardware.h"
#include "engine/run/helpers.h"
#include "engine/run/snapshot.h"
#include "engine/run/steps.h"
#include "recipe/stage_reference.h"

namespace wring {

StageForecast Forecasts::stage(std::size_t index, Room& room, bool gathered) {
  const StageSpec& stage = spec_.recipe.stages[index];
  const std::string field = stage_field(index);
  if (model_.is_graph()) return graph_stage(stage, field, room);
  const auto chosen = targets_of(stage, field, model_.model());
  const Params params(stage.params, field + ".params");
  const auto method = make_method(stage.method, params);
  std::vector<std::string> names;
  for (const Layer* layer : chosen) names.push_back(layer->name());
  const auto found = estimate(*method, chosen, calibration(*method, params, field), gathered);
  model_.let_go();
  return room.add_stage(stage.method, index, names, found, reference_index(spec_.recipe.stages, index));
}

// Of the graph that was handed in, whatever earlier stages cut out of it.
StageForecast Forecasts::graph_stage(const StageSpec& stage, const std::string& field, Room& room) {
  const Params params(stage.params, field + ".params");
  const auto method = make_graph_method(stage.method, params);
  if (trains(params)) (void)data_.batches(model_.graph(), params, Normalisation::from(params));
  NoProgress quiet;
  Snapshot none;
  const GraphEstimate estimate =
      estimate_graph_stage(*method, data_.graph_stage(model_.graph(), dense_input(spec_).files, params,
                                                      GraphTargets(stage, field), quiet, none));
  model_.read_again();  // it was trained
  return room.add_graph_stage(stage.method, model_.graph(), estimate);
}

StageForecast Forecasts::statistics(const StatisticsSpec& statistics, const Json& params,
                                    const std::string& field, Room& room) {
  const Params read(params, field + ".params");
  const auto which = statistics_named(statistics);
  const auto method = gather_statistics(which);
  const auto found =
      estimate(*method, statistics_targets(model_.model()), calibration(*method, read, field), false);
  const auto bytes = statistics_bytes(model_.model(), which);
  model_.let_go();
  return room.add_statistics(found, bytes);
}

StageEstimate Forecasts::estimate(const Method& method, const std::set<const Layer*>& targets,
                                  const Calibration& calibration, bool gathered) {
  const int processes = can_split(method) ? spec_.processes : 1;
  if (processes > 1) set_threads(apart_);
  const auto found = estimate_stage(model_.model(), method, targets, calibration, gathered, processes);
  set_threads(threads_);
  return found;
}

// Of tokens only the shape counts, where they are not at hand.
Calibration Forecasts::calibration(const Method& method, const Params& params, const std::string& field) {
  Calibration calibration = calibration_of(method, params, model_.device());
  if (method.reads_data())
    std::tie(calibration.ids, calibration.mask) = data_.tokens_or_blank(model_.model(), params, field);
  return calibration;
}

}  // namespace wring

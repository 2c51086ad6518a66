// A level of a module is timed as a block of its own.
#include "engine/methods/search/latency_table.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "common/clock.h"
#include "engine/model/model_tensors.h"

namespace wring {
namespace {

using Kind = CoupledGroups::Kind;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

at::Tensor random_ids(const Model& model, const Environment& environment) {
  return at::randint(0, model.vocabulary_size(), {environment.batch, environment.length}, at::kLong)
      .to(model.device());
}

// Ends once the values are there, on any device.
void wait_for(const at::Tensor& values) {
  (void)values.sum().item<float>();
}

// Equal for modules that take the same time.
std::string shape_of(const Model& model, const CoupledGroups& groups) {
  std::string shape = std::to_string(groups.count);
  for (const Layer* layer : model.layers())
    for (const auto& axis : groups.axes)
      if (layer->axes()[0] == axis.label || layer->axes()[1] == axis.label)
        shape +=
            " " + std::to_string(layer->weight().rows()) + "x" + std::to_string(layer->weight().columns());
  return shape;
}

ModuleTimes measure_module(const Model& model, const CoupledGroups& groups, std::vector<std::int64_t> kept,
                           const Environment& environment, double& without, Progress& progress,
                           const Timer& timer) {
  const at::Tensor hidden =
      at::randn({environment.batch, environment.length, model.hidden_size()}).to(model.device());
  std::vector<std::unique_ptr<Model>> alone;
  std::vector<std::unique_ptr<DecodedLayers>> decoded;
  std::vector<std::function<void()>> passes;
  for (const auto count : kept) {
    Model& module = *alone.emplace_back(module_alone(model, groups, count));
    decoded.push_back(std::make_unique<DecodedLayers>(module.block_layers(0), at::kFloat));
    passes.emplace_back([&] { wait_for(module.run_block(0, hidden, {})); });
  }
  auto seconds = median_seconds(passes, environment.repeats, progress, timer);
  without = seconds.back();
  for (auto& value : seconds) value = std::max(0.0, value - without);
  return {groups.kind == Kind::kHeads ? "attention" : "ffn", std::move(kept), std::move(seconds)};
}

double measure_ends(const Model& model, const Environment& environment, Progress& progress,
                    const Timer& timer) {
  const auto copy = copy_of(model);
  const DecodedLayers embedding(copy->embedding_layers(), at::kFloat), head(copy->head_layers(), at::kFloat);
  const at::Tensor ids = random_ids(model, environment);
  const auto pass = [&] { wait_for(copy->head(copy->final_norm(copy->embed(ids, at::kFloat)))); };
  return median_seconds({pass}, environment.repeats, progress, timer).front();
}

}  // namespace

double wall_seconds(const std::function<void()>& pass) {
  const Stopwatch watch;
  pass();
  return watch.seconds();
}

std::vector<double> median_seconds(const std::vector<std::function<void()>>& passes, std::int64_t repeats,
                                   Progress& progress, const Timer& timer) {
  std::vector<std::vector<double>> samples(passes.size());
  for (std::int64_t round = 0; round <= repeats; ++round) {
    progress.report(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(repeats), "timed rounds");
    for (std::size_t i = 0; i < passes.size(); ++i) {
      const double seconds = timer(passes[i]);
      if (round > 0) samples[i].push_back(seconds);
    }
  }
  std::vector<double> medians;
  for (auto& of_pass : samples) medians.push_back(median(std::move(of_pass)));
  return medians;
}

double LatencyTable::seconds(const Assignment& levels) const {
  double sum = fixed;
  for (std::size_t part = 0; part < row.size(); ++part)
    sum += of(part).seconds[part < levels.size() ? levels[part] : 0];
  return sum;
}

Json LatencyTable::to_json() const {
  Json rows = Json::array();
  for (const auto& [module, kept, seconds] : modules)
    rows.push_back({{"module", module}, {"kept", kept}, {"seconds", seconds}});
  return {{"fixed_seconds", fixed}, {"modules", std::move(rows)}, {"row", row}};
}

LatencyTable LatencyTable::from_json(const Json& json, const std::string& field) {
  LatencyTable table;
  table.fixed = json_at<double>(json, "fixed_seconds", field);
  for (const Json& times : json_at<std::vector<Json>>(json, "modules", field))
    table.modules.push_back({json_at<std::string>(times, "module", field),
                             json_at<std::vector<std::int64_t>>(times, "kept", field),
                             json_at<std::vector<double>>(times, "seconds", field)});
  table.row = json_at<std::vector<std::size_t>>(json, "row", field);
  return table;
}

std::unique_ptr<Model> module_alone(const Model& model, const CoupledGroups& groups, std::int64_t kept) {
  auto copy = copy_of(model);
  for (std::size_t block = model.block_count(); block-- > 0;)
    if (block != groups.block) copy->drop_block(block);
  for (const auto& there : copy->coupled_groups())
    if (there.kind != Kind::kHidden)
      copy->keep_groups(there, at::arange(there.kind == groups.kind ? kept : 0, at::kLong));
  return copy;
}

LatencyTable measure_latency(const Model& model, const std::vector<CoupledGroups>& parts,
                             const std::vector<std::vector<std::int64_t>>& kept,
                             const Environment& environment, bool with_head, Progress& progress,
                             const Timer& timer) {
  LatencyTable table;
  std::map<std::pair<Kind, std::string>, std::size_t> rows;
  std::vector<double> without;               // of each row
  std::map<std::size_t, double> of_nothing;  // of each block
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto [it, is_new] = rows.try_emplace({parts[i].kind, shape_of(model, parts[i])}, rows.size());
    if (is_new)
      table.modules.push_back(
          measure_module(model, parts[i], kept[i], environment, without.emplace_back(), progress, timer));
    table.row.push_back(it->second);
    of_nothing[parts[i].block.value()] = without[it->second];
  }
  for (const auto& [block, seconds] : of_nothing) table.fixed += seconds;
  if (with_head) table.fixed += measure_ends(model, environment, progress, timer);
  return table;
}

std::vector<double> forward_seconds(const std::vector<Model*>& models, const Environment& environment,
                                    bool with_head, Progress& progress, const Timer& timer) {
  std::vector<std::unique_ptr<DecodedLayers>> decoded;
  std::vector<std::function<void()>> passes;
  const at::Tensor ids = random_ids(*models.front(), environment);
  const at::Tensor embedded = models.front()->embed(ids, at::kFloat);
  for (Model* model : models) {
    decoded.push_back(std::make_unique<DecodedLayers>(model->layers(), at::kFloat));
    passes.emplace_back([&, model] {
      if (with_head) return wait_for(model->forward(ids));
      at::Tensor hidden = embedded;
      for (std::size_t block = 0; block < model->block_count(); ++block)
        hidden = model->run_block(block, hidden, {});
      wait_for(hidden);
    });
  }
  return median_seconds(passes, environment.repeats, progress, timer);
}

}  // namespace wring

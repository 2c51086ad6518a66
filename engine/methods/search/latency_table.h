// How long a model's attentions and MLPs take at each width, measured where the stage runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/methods/search/evolution.h"
#include "engine/model/model.h"
#include "engine/run/progress.h"

namespace wring {

// What the times are of: forward passes of so many sequences in fp32, with the threads that the stage has.
struct Environment {
  std::int64_t batch = 4, length = 128, repeats = 21;
};

// Seconds of a pass, which ends with its result at hand. A test has a clock of its own.
using Timer = std::function<double(const std::function<void()>& pass)>;
double wall_seconds(const std::function<void()>& pass);

// Seconds of each pass: the median of `repeats`. All are run in turn, `repeats` times after one to warm up,
// so that what else the machine does meets all of them, and weights come from memory as they do in a model.
std::vector<double> median_seconds(const std::vector<std::function<void()>>& passes, std::int64_t repeats,
                                   Progress& progress, const Timer& timer = wall_seconds);

// Of modules of one shape.
struct ModuleTimes {
  std::string module;              // "attention", "ffn"
  std::vector<std::int64_t> kept;  // at each level so many groups: falling, 0 last
  std::vector<double> seconds;     // at each level, beside what its block takes without it
};

struct LatencyTable {
  double fixed = 0;  // seconds of everything else: embedding, norms, head
  std::vector<ModuleTimes> modules;
  std::vector<std::size_t> row;  // of each part its modules

  const ModuleTimes& of(std::size_t part) const { return modules[row[part]]; }
  // Of the whole model, forecast: the sum. Parts behind those that `levels` has are whole.
  double seconds(const Assignment& levels) const;

  Json to_json() const;
  static LatencyTable from_json(const Json& json, const std::string& field);
};

// A copy of a model that is the block of these groups, with nothing in it but as many of them.
std::unique_ptr<Model> module_alone(const Model& model, const CoupledGroups& groups, std::int64_t kept);

// Of these parts, which are heads and FFNs of blocks, at the levels kept[part]; parts of one shape, whose
// levels are the same, are measured once. `with_head`: whether the embedding and the head are in `fixed`.
LatencyTable measure_latency(const Model& model, const std::vector<CoupledGroups>& parts,
                             const std::vector<std::vector<std::int64_t>>& kept,
                             const Environment& environment, bool with_head, Progress& progress,
                             const Timer& timer = wall_seconds);

// Seconds of a forward pass of each model, as the suite `latency` has it, or of its blocks alone.
std::vector<double> forward_seconds(const std::vector<Model*>& models, const Environment& environment,
                                    bool with_head, Progress& progress, const Timer& timer = wall_seconds);

}  // namespace wring

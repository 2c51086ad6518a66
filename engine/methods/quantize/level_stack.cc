// Levels are taken by their places.
#include "engine/methods/quantize/level_stack.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "engine/model/residual_rep.h"

namespace wring {

std::vector<StackedLevel> level_stack(Model& model) {
  std::vector<std::pair<std::int64_t, StackedLevel>> placed;
  for (Layer* layer : model.layers()) {
    const auto order = level_order(layer->weight());
    for (std::size_t level = 0; level < order.size(); ++level)
      placed.push_back(
          {order[level],
           {layer, static_cast<std::int64_t>(level), layer->weight().stored_bytes() / order.size()}});
  }
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<StackedLevel> stack;
  for (const auto& [place, level] : placed) stack.push_back(level);
  return stack;
}

void fit_levels(Model& model, std::uint64_t bytes, const std::string& field) {
  const auto stack = level_stack(model);
  if (stack.empty())
    throw Error(ErrorCode::kInvalidArgument, "NO_LEVELS",
                "no weight of this model is stored in levels, of which fewer could be taken", field,
                "Run bitstack on it first, or leave the size out.");
  std::uint64_t taken = model.stored_bytes(), levels = 0;
  for (const auto& level : stack) levels += level.bytes;
  const std::uint64_t rest = taken - levels;
  taken = rest;
  std::map<Layer*, std::int64_t> counts;
  for (const auto& level : stack)
    if (level.level == 0) {
      taken += level.bytes;
      counts[level.layer] = 1;
    }
  if (taken > bytes)
    throw Error(ErrorCode::kInvalidArgument, "SIZE_TOO_SMALL",
                std::to_string(bytes) + " bytes do not hold one level of each layer: the least is " +
                    std::to_string(taken) + ", of which " + human_bytes(rest) + " have no levels",
                field, "Raise it, or make what has no levels smaller: rtn(bits=8, targets=Embedding).");
  for (const auto& level : stack) {
    if (level.level == 0) continue;
    if (taken + level.bytes > bytes) break;
    taken += level.bytes;
    counts[level.layer] = level.level + 1;
  }
  for (const auto& [layer, count] : counts) layer->set_weight(first_levels(layer->weight(), count));
}

}  // namespace wring

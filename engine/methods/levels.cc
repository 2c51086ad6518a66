// From stages to methods.
#include "engine/methods/levels.h"

#include "common/error.h"
#include "recipe/levels.h"

namespace wring {

std::vector<Level> make_levels(const Params& params, const char* name) {
  std::vector<Level> levels;
  for (auto& stage : levels_of(params.get<Json>(name))) {
    const auto field = params.field(name) + "[" + std::to_string(levels.size()) + "]";
    std::shared_ptr<const Method> method = make_method(stage.method, Params(stage.params, field + ".params"));
    auto by_layer = std::dynamic_pointer_cast<const LayerMethod>(std::move(method));
    if (!by_layer)
      throw Error(ErrorCode::kInvalidArgument, "NO_LEVEL", stage.method + " does not go layer by layer",
                  field + ".method");
    levels.push_back({std::move(stage), std::move(by_layer)});
  }
  return levels;
}

}  // namespace wring

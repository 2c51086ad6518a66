// From stages to methods.
#include "engine/methods/levels.h"

#include <utility>

#include "common/error.h"
#include "engine/calibrate/compress_layer.h"
#include "recipe/levels.h"

namespace wring {

bool Level::can_take(const Layer& layer) const {
  if (!takes(layer)) return false;
  try {
    method->check(layer);
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    return false;
  }
}

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

std::vector<Version> versions_of(const std::vector<Level>& levels, const Layer& layer, const Statistics& x) {
  std::vector<Version> versions;
  const Layer plain = layer.without_rounding();
  const at::Tensor meant = plain.weight().decode(at::kFloat).to(x.device());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (!levels[i].can_take(layer)) continue;
    Json ignored = Json::object();
    auto weight = levels[i].method->compress({plain, &x}, ignored);
    const at::Tensor held = weight->decode(at::kFloat).to(x.device());
    const double error = relative_error(meant, held, &x, /*with_hessian=*/true);
    versions.push_back({i, std::move(weight), error});
  }
  return versions;
}

}  // namespace wring

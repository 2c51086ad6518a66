// Of a model whose weights are in levels, those that a number of bytes has room for.
#include "engine/methods/method.h"
#include "engine/methods/quantize/level_stack.h"
#include "engine/model/residual_rep.h"

namespace wring {
namespace {

class FitSize final : public Method {
 public:
  explicit FitSize(const Params& params)
      : bytes_(params.get<std::uint64_t>("size")), field_(params.field("size")) {}

  bool keeps_layers() const override { return true; }
  // What it needs an earlier stage makes.
  void check_model(const Model&, const std::set<const Layer*>&) const override {}

  Json run(const StageInput& stage) const override {
    if (bytes_ > 0) fit_levels(stage.model, bytes_, field_);
    Json layers = Json::array();
    for (const Layer* layer : std::as_const(stage.model).layers())
      if (const auto order = level_order(layer->weight()); !order.empty())
        layers.push_back({{"layer", layer->name()}, {"levels", order.size()}});
    return {{"layers", layers}};
  }

 private:
  std::uint64_t bytes_;
  std::string field_;
};

WRING_METHOD("fit-size", FitSize);

}  // namespace
}  // namespace wring

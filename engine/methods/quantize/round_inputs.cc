// Layers that round their inputs as they come, beside whatever their weights are: W8A8, FP8.
#include "common/error.h"
#include "engine/methods/method.h"

namespace wring {
namespace {

class RoundInputs final : public LayerMethod {
 public:
  explicit RoundInputs(const Params& params)
      : rounding_{params.get<std::string>("type") == "int8" ? InputType::kInt8 : InputType::kFloat8,
                  params.get<std::int64_t>("group_size")},
        field_(params.field("group_size")) {}

  void check(const Layer& layer) const override {
    if (layer.class_name() != "Linear")
      throw Error(ErrorCode::kInvalidArgument, "NO_INPUTS",
                  layer.name() + " is looked up by ids and has no inputs to round", field_,
                  "Target Linear layers.");
    const std::int64_t in = layer.weight().columns();
    if (rounding_.group_size == 0 || (rounding_.group_size > 0 && in % rounding_.group_size != 0))
      throw Error(ErrorCode::kInvalidArgument, "GROUP_SIZE",
                  std::to_string(rounding_.group_size) + " does not divide the " + std::to_string(in) +
                      " inputs of " + layer.name(),
                  field_, "-1 takes a whole token.");
  }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    return rounded_input_rep(input.layer.shared_weight(), rounding_);
  }

 private:
  InputRounding rounding_;
  std::string field_;
};

WRING_METHOD("round-inputs", RoundInputs);

}  // namespace
}  // namespace wring

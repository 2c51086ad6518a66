// From parameters to a policy, and back from what a model took along.
#include "engine/methods/kv/kv_method.h"

#include "common/error.h"
#include "engine/model/rotary_heads.h"
#include "engine/run/progress.h"
#include "recipe/check.h"

namespace wring {
namespace {

class MethodPolicy final : public KvPolicy {
 public:
  MethodPolicy(Json description, std::unique_ptr<Method> method)
      : description_(std::move(description)), method_(std::move(method)) {}
  std::unique_ptr<BlockCache> make_block(std::size_t block) const override {
    return dynamic_cast<const KvMethod&>(*method_).make_block(block);
  }
  Json to_json() const override { return description_; }

 private:
  Json description_;
  std::unique_ptr<Method> method_;
};

}  // namespace

void KvMethod::check_model(const Model& model, const std::set<const Layer*>&) const {
  if (model.kind() != "decoder-lm")
    throw Error(ErrorCode::kInvalidArgument, "NOT_A_DECODER",
                "a " + std::string(model.kind()) + " writes no text and caches no keys", "model");
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    const RotaryHeads heads = rotary_heads(model, block);
    if (heads.heads > 0) check_heads(heads.query_width, heads.value_width);
  }
}

Json KvMethod::run(const StageInput& stage) const {
  const auto& spec = Catalogue::embedded().method(name_, "");
  const Json description{{"method", name_}, {"version", spec.version}, {"params", params_.values()}};
  attach_kv_policy(stage.model, description, "kv_cache");
  stage.progress.report(1, 1, "policies");
  return {{"layers", Json::array()}, {"kv_cache", description}};
}

void attach_kv_policy(Model& model, const Json& description, const std::string& field) {
  const auto name = json_at<std::string>(description, "method", field);
  const auto& spec = Catalogue::embedded().method(name, field + ".method");
  if (spec.kind != "kv-cache")
    throw Error(ErrorCode::kInvalidArgument, "NO_KV_METHOD", name + " is no method of KV caches",
                field + ".method");
  const auto params = check_params(json_at<Json>(description, "params", field), spec, field + ".params", {});
  const auto version = json_at<std::uint32_t>(description, "version", field);
  if (version != spec.version)
    throw Error(ErrorCode::kUnimplemented, "METHOD_VERSION",
                "version " + std::to_string(version) + " of " + name + " is not the one of this engine",
                field + ".version", "This engine has version " + std::to_string(spec.version) + ".");
  auto method = make_method(name, Params(params, field + ".params"));
  method->check_model(model, {});
  model.set_kv_policy(std::make_shared<MethodPolicy>(
      Json{{"method", name}, {"version", version}, {"params", params}}, std::move(method)));
}

}  // namespace wring

// A KV method as a stage: the model stays as it is and takes the policy along (wring.json), which it then
// writes text by.
#pragma once

#include <memory>
#include <string>

#include "engine/methods/method.h"
#include "engine/model/model.h"

namespace wring {

// The spec's parameters make the caches; the stage itself only attaches them.
class KvMethod : public Method {
 public:
  // What one block's cache begins as.
  virtual std::unique_ptr<BlockCache> make_block(std::size_t block) const = 0;

  // Throws Error(kInvalidArgument) naming the parameter's field where heads of these widths cannot be cached
  // so.
  virtual void check_heads(std::int64_t query_width, std::int64_t value_width) const {
    (void)query_width;
    (void)value_width;
  }

  bool keeps_layers() const final { return true; }
  void check_model(const Model& model, const std::set<const Layer*>& targets) const final;
  Json run(const StageInput& stage) const final;

 protected:
  KvMethod(std::string name, const Params& params) : name_(std::move(name)), params_(params) {}

 private:
  std::string name_;
  Params params_;
};

// Attaches the policy of {method, version, params}, checked against the method's spec and the model. Throws
// Error(kInvalidArgument) whose field begins with `field`.
void attach_kv_policy(Model& model, const Json& description, const std::string& field);

}  // namespace wring

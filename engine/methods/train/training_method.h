// A method that trains: it says what is to be minimised, the rest is one loop.
#pragma once

#include "engine/train/trainer.h"

namespace wring {

class TrainingMethod : public Method {
 public:
  bool reads_data() const final { return true; }
  bool keeps_layers() const final { return true; }
  std::optional<TrainingSize> training() const final { return options_.size(parts_.rank); }
  void check_model(const Model& model, const std::set<const Layer*>& targets) const override;
  Json run(const StageInput& stage) const final;
  void try_out(Layer& layer, const Statistics* x) const final;

 protected:
  explicit TrainingMethod(const Params& params);

  const TrainOptions& options() const { return options_; }

  // What the stage minimises; it may hold on to what it needs meanwhile.
  virtual TrainingObjective objective(const StageInput& stage, TrainedWeights& weights) const = 0;
  // Of a weight [out, in] fp32 on the CPU, what is stored in the end: bool [out, in], or undefined for all.
  virtual at::Tensor kept_at_the_end(const at::Tensor& weight) const;

 private:
  TrainedParts parts_;
  TrainOptions options_;
};

}  // namespace wring

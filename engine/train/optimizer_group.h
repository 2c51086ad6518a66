// Several optimisers as one.
#pragma once

#include <functional>
#include <memory>

#include "engine/train/optimizer.h"

namespace wring {

// Each member has parameters, a rule and a learning rate by step of its own. Gradients are clipped member by
// member: a budget's are of another size than a model's.
class OptimizerGroup final : public Optimizer {
 public:
  struct Member {
    std::unique_ptr<Optimizer> optimizer;
    std::function<double(std::int64_t step)> rate;
  };
  explicit OptimizerGroup(std::vector<Member> members);

  double clip_gradients(double most) override;
  void step(double scale) override;                    // of all members' rates
  at::Tensor direction(std::size_t i) const override;  // parameters in the order of the members
  std::vector<NamedTensor> state() const override;
  void set_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  std::vector<Member> members_;
  at::Tensor steps_;  // done, int64
};

}  // namespace wring

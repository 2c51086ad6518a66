// Names in the state: "steps", and "N." before those of member N.
#include "engine/train/optimizer_group.h"

#include <cmath>
#include <utility>

namespace wring {
namespace {

std::vector<at::Tensor> parameters_of(const std::vector<OptimizerGroup::Member>& members) {
  std::vector<at::Tensor> all;
  for (const auto& member : members)
    all.insert(all.end(), member.optimizer->parameters().begin(), member.optimizer->parameters().end());
  return all;
}

}  // namespace

OptimizerGroup::OptimizerGroup(std::vector<Member> members)
    : Optimizer(parameters_of(members)),
      members_(std::move(members)),
      steps_(at::zeros({}, at::TensorOptions(at::kLong))) {}

double OptimizerGroup::clip_gradients(double most) {
  double squares = 0;
  for (const auto& member : members_) {
    const double norm = member.optimizer->clip_gradients(most);
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

void OptimizerGroup::step(double scale) {
  const auto done = steps_.item<std::int64_t>();
  for (const auto& member : members_) member.optimizer->step(scale * member.rate(done));
  steps_.add_(1);
}

at::Tensor OptimizerGroup::direction(std::size_t i) const {
  for (const auto& member : members_) {
    const std::size_t count = member.optimizer->parameters().size();
    if (i < count) return member.optimizer->direction(i);
    i -= count;
  }
  return {};
}

std::vector<NamedTensor> OptimizerGroup::state() const {
  std::vector<NamedTensor> state{{"steps", steps_.clone()}};
  for (std::size_t i = 0; i < members_.size(); ++i)
    for (auto& [name, tensor] : members_[i].optimizer->state())
      state.push_back({std::to_string(i) + "." + name, tensor});
  return state;
}

void OptimizerGroup::set_state(const std::map<std::string, at::Tensor>& state) {
  take_state(state, "steps", steps_);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    std::map<std::string, at::Tensor> own;
    for (const auto& [name, tensor] : state)
      if (name.starts_with(prefix)) own.emplace(name.substr(prefix.size()), tensor);
    members_[i].optimizer->set_state(own);
  }
}

}  // namespace wring

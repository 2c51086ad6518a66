// Other weights in a model's layers for a while.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/model/layer.h"

namespace wring {

// The layers have these weights for its lifetime.
class ExchangedWeights {
 public:
  using Weights = std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>>;

  explicit ExchangedWeights(Weights weights) : held_(std::move(weights)) { exchange(); }
  ~ExchangedWeights() { exchange(); }
  ExchangedWeights(const ExchangedWeights&) = delete;
  ExchangedWeights& operator=(const ExchangedWeights&) = delete;

 private:
  void exchange() {
    for (auto& [layer, weight] : held_) {
      auto before = layer->shared_weight();
      layer->set_weight(std::move(weight));
      weight = std::move(before);
    }
  }

  Weights held_;
};

}  // namespace wring

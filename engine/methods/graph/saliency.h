// How much each removal unit matters, from values that a training step has at hand.
#pragma once

#include <ATen/ATen.h>

#include "engine/methods/graph/units.h"
#include "engine/train/graph_weights.h"
#include "engine/train/optimizer.h"

namespace wring {

struct SaliencyOptions {
  bool released_cosine = false;  // + cos(x, d), as the authors' code has it, in place of - cos(x, d)
  bool taylor_by_gradient =
      false;  // the raw gradient in place of the optimiser's direction: Adam's has no scale

  static SaliencyOptions from(const Params& params);  // cosine, optimizer
};

// HESSO's mixture (Chen et al. 2024; card C3, A): with x a unit's values and d the optimiser's direction, the
// mean of |x|, |x| / length, 1 - cos(x, d), |<x, d>| and <x, d>^2 / 2, each over its Euclidean norm over all
// units. fp64 [units], high = keep. Called between the backward pass and the optimiser's step.
at::Tensor saliency(const UnitValues& values, const GraphWeights& weights, const Optimizer& optimizer,
                    const SaliencyOptions& options);

}  // namespace wring

// Weights in levels, of which the first ones alone are a coarser weight.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model/weight_rep.h"

namespace wring {

// The sum over levels of S * (u v), elementwise with S the signs.
//   negative bool [levels, out, in]: where S is -1
//   u, v     fp16 [levels, out, rank], [levels, rank, in], finite
struct Residual {
  at::Tensor negative, u, v;
};
std::shared_ptr<const WeightRep> residual_rep(const Residual& parts);

// Its weight in fp32 of its tensors "signs", "u" and "v", by ATen's operators on whichever device they are.
at::Tensor decode_levels(const at::Tensor& signs, const at::Tensor& u, const at::Tensor& v);

// Places of its levels in the order in which a model's levels are taken, rising from level to level; empty
// for other reps. One that was just made counts its own from 0.
std::vector<std::int64_t> level_order(const WeightRep& rep);
std::shared_ptr<const WeightRep> with_level_order(const WeightRep& rep, std::vector<std::int64_t> order);

// Without copying anything; 1 to as many as it has. Of a weight whose layer rounds its inputs, the weight
// inside.
std::shared_ptr<const WeightRep> first_levels(const WeightRep& rep, std::int64_t count);

}  // namespace wring

// The structured Optimal Brain Surgeon (Kurtic et al., ZipLM, NeurIPS 2023).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace wring {

// A matrix that has lost groups of its columns, as it is during a call.
struct PrunedColumns {
  at::Tensor kept;    // int64 [k], rising: the groups that stay
  at::Tensor weight;  // [out, k * width] fp64: their columns, which make up for those that left
  double error;       // ||(W' - W) X||^2 / ||W X||^2
};

// Takes groups of `width` neighbouring columns out of W [out, in], one by one: always the one that costs
// least once the others have made up for it. `hessian` [in, in] is that of W's input; `damping` is the share
// of its mean diagonal that is added to it. Calls `each` at each of `counts`, falling and none of them 0,
// when so many groups are left: the sets are nested. Columns whose input was always zero give nothing in W'.
void prune_columns(const at::Tensor& weight, const at::Tensor& hessian, std::int64_t width, double damping,
                   const std::vector<std::int64_t>& counts,
                   const std::function<void(const PrunedColumns&)>& each);

}  // namespace wring

// The loader of each weight rep: one a file, chosen by the format's name in load_weight_rep().
#pragma once

#include "engine/model/weight_rep.h"

namespace wring {

// Each throws Error(kInvalidArgument, "BAD_WEIGHT_REP") where attributes and tensors do not fit together.
std::shared_ptr<const WeightRep> load_dense_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_masked_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_packed_int_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_ggml_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_low_rank_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_float4_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_float8_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_residual_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_rounded_input_rep(const Json& attributes, const TensorLookup& tensor);
std::shared_ptr<const WeightRep> load_sum_rep(const Json& attributes, const TensorLookup& tensor);

}  // namespace wring

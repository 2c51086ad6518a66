// Which weights a sparse method keeps, given a score for each: a share of them, or N zeros in every M
// neighbours.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "engine/methods/method.h"

namespace wring {

// Throws Error(kInvalidArgument, "SPARSITY_PATTERN") naming `field` where M does not divide the layer's
// inputs.
void check_pattern(const char* method, const SparsityPattern& pattern, const Layer& layer,
                   const std::string& field);

// Scores are fp32, contiguous, not negative; of equal ones the earlier is dropped. Each gives a bool tensor
// of their shape. The number dropped is int(share * count).
at::Tensor keep_largest(const at::Tensor& scores, double share_dropped);  // all compete together
at::Tensor keep_largest_of_rows(const at::Tensor& scores,
                                double share_dropped);                        // [rows, n]: each row by itself
at::Tensor keep_of_neighbours(const at::Tensor& scores, int dropped, int m);  // [rows, n], m divides n

// `weight` [out, in] with the kept values stored in `value_dtype`: "float32", "bfloat16", "float16", or
// "source" for the dtype that `layer` holds plain values in (fp16 where it holds quantised blocks).
std::shared_ptr<const WeightRep> masked_as(const at::Tensor& weight, const at::Tensor& keep,
                                           const Layer& layer, const std::string& value_dtype);

}  // namespace wring

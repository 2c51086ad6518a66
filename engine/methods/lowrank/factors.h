// Closed-form low-rank factors of a matrix, and how many of them a layer gets.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "engine/methods/method.h"

namespace wring {

struct Factors {
  at::Tensor a, b;  // [rank, in], [out, rank] fp64: the matrix is about b a
};

// Of all b a of `rank` the one with the least tr((D - b a) C (D - b a)^T), that is ||(D - b a) X||_F where
// C = X X^T up to a factor. `matrix` D [out, in]; `moment` C is [in, in], or [in]: its diagonal, or
// undefined: the identity. C may be singular. Column k of b and row k of a have the same norm; k falls by
// what it contributes. Works in fp64 where the matrix is. Throws Error(kInvalidArgument, "NOT_FINITE").
Factors best_factors(const at::Tensor& matrix, const at::Tensor& moment, std::int64_t rank);

// How many factors a layer gets, and how they are stored: the parameters rank, bits and factor_dtype.
struct FactorSpec {
  std::int64_t rank = 0;
  double bits = 0;  // for each weight; 0: as rank says
  at::ScalarType dtype = at::kHalf;
  std::string field;  // "stages[1].params."

  static FactorSpec from(const Params& params);

  // Throws Error(kInvalidArgument, "RANK") naming the parameter where the layer has no such rank.
  void check(const Layer& layer) const;
  std::int64_t rank_of(const WeightRep& weight) const;

  // Throws Error(kInvalidArgument, "FACTOR_RANGE") where the dtype cannot hold them.
  std::shared_ptr<const WeightRep> rep(const Factors& factors) const;
};

// The layer's weight, stored as it is, plus the best factors of what it has lost since the reference. A
// weight that has lost nothing stays as it is. Adds {"rank"} to the report.
std::shared_ptr<const WeightRep> compensated(const LayerInput& input, const at::Tensor& moment,
                                             const FactorSpec& spec, Json& report);

}  // namespace wring

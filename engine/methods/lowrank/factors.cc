// Factors by projection onto the leading output directions: no inverse of the inputs' moment, so it may be
// singular.
#include "engine/methods/lowrank/factors.h"

#include <algorithm>
#include <tuple>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

// D C D^T, symmetric to the last bit.
at::Tensor output_moment(const at::Tensor& matrix, const at::Tensor& moment) {
  at::Tensor weighted = matrix;
  if (moment.defined()) {
    const at::Tensor c = moment.to(matrix.options());
    weighted = c.dim() == 1 ? matrix * c : at::mm(matrix, c);
  }
  const at::Tensor gram = at::mm(weighted, matrix.t());
  if (!at::isfinite(gram).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                "the layer's weight or its inputs on the calibration data hold NaN or infinity");
  return (gram + gram.t()) / 2;
}

}  // namespace

// U U^T D with U the leading eigenvectors of D C D^T. A tall D is taken by its triangular factor R, D = Q R:
// its own moment is Q (R C R^T) Q^T.
Factors best_factors(const at::Tensor& matrix, const at::Tensor& moment, std::int64_t rank) {
  at::Tensor d = matrix.to(at::kDouble), basis;
  if (d.size(0) > d.size(1)) std::tie(basis, d) = at::linalg_qr(d);
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(output_moment(d, moment)));  // by rising value
  const at::Tensor u = vectors.narrow(1, vectors.size(1) - rank, rank).flip({1});
  const at::Tensor a = at::mm(u.t(), d);
  const at::Tensor share = at::linalg_vector_norm(a, 2, at::IntArrayRef{1}).sqrt().clamp_min(1e-150);
  return {a / share.unsqueeze(1), (basis.defined() ? at::mm(basis, u) : u) * share};
}

FactorSpec FactorSpec::from(const Params& params) {
  return {params.get<std::int64_t>("rank"), params.get<double>("bits"), params.dtype("factor_dtype"),
          params.field("")};
}

std::int64_t FactorSpec::rank_of(const WeightRep& weight) const {
  if (bits == 0) return rank;
  const double out = static_cast<double>(weight.rows()), in = static_cast<double>(weight.columns());
  const double most = bits * out * in / (8 * static_cast<double>(at::elementSize(dtype)) * (out + in));
  return std::min({static_cast<std::int64_t>(most), weight.rows(), weight.columns()});
}

void FactorSpec::check(const Layer& layer) const {
  const WeightRep& weight = layer.weight();
  const auto largest = std::min(weight.rows(), weight.columns());
  const auto given = rank_of(weight);
  if (given > largest)
    throw Error(ErrorCode::kInvalidArgument, "RANK",
                "a rank of " + std::to_string(given) + " is more than that of " + layer.name() + ", " +
                    std::to_string(largest),
                field + "rank", "Set bits instead of rank, or leave the layer out with 'ignore'.");
  if (given < 1)
    throw Error(ErrorCode::kInvalidArgument, "RANK",
                format_number(bits, 3) + " bits a weight are not enough for rank 1 of " + layer.name(),
                field + "bits", "Raise bits, or leave the layer out with 'ignore'.");
}

std::shared_ptr<const WeightRep> FactorSpec::rep(const Factors& factors) const {
  const at::Tensor a = factors.a.to(at::kCPU, dtype), b = factors.b.to(at::kCPU, dtype);
  if (!at::isfinite(a.sum(at::kDouble)).item<bool>() || !at::isfinite(b.sum(at::kDouble)).item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "FACTOR_RANGE", "a factor exceeds what factor_dtype holds", "",
                "Set factor_dtype to bfloat16 or float32.");
  return low_rank_rep(a, b);
}

std::shared_ptr<const WeightRep> compensated(const LayerInput& input, const at::Tensor& moment,
                                             const FactorSpec& spec, Json& report) {
  const auto device = moment.defined() ? moment.device() : at::Device(at::kCPU);
  const WeightRep& weight = input.layer.weight();
  const auto decoded = [&](const WeightRep& rep) { return rep.decode(at::kFloat).to(device, at::kDouble); };
  const at::Tensor lost = decoded(*input.reference) - decoded(weight);
  const bool nothing = at::count_nonzero(lost).item<std::int64_t>() == 0;
  const auto rank = nothing ? 0 : spec.rank_of(weight);
  report["rank"] = rank;
  if (nothing) return input.layer.shared_weight();
  return sum_rep({input.layer.shared_weight(), spec.rep(best_factors(lost, moment, rank))});
}

}  // namespace wring

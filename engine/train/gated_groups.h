// Gates on a model's coupled groups: what they multiply, and how many weights they leave.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/model/model.h"
#include "engine/train/trained_weights.h"

namespace wring {

// A gate for each group of each part. A head's and an FFN channel's multiply the columns of the layer that
// reads them; a hidden channel's all that is written to it: the rows of what adds to the residual stream,
// with their biases, and the embedding's columns (a tied head's too, which is the same matrix). Norms divide
// by the width that the model has, so with gates of zero it gives what it gives once their groups are cut.
class GatedGroups {
 public:
  // `counted`: the layers whose weights the budget is about.
  GatedGroups(Model& model, std::vector<CoupledGroups> parts, const std::set<const Layer*>& counted);

  const std::vector<CoupledGroups>& parts() const { return parts_; }

  // Those that gates multiply, in model order.
  const std::vector<Layer*>& multiplied() const { return multiplied_; }

  // Of one of multiplied(), with gates [count] for each part.
  WeightFactors factors(const Layer& layer, const std::vector<at::Tensor>& gates) const;

  // Of the counted layers, with a probability or a count of each part's groups (what is summed: [count] or
  // [1]): the sum over matrices of rows x columns that stay, fp64, with gradients. Exact in the mean where
  // gates are drawn apart. Keys and values count once a group of query heads.
  at::Tensor weights_left(const std::vector<at::Tensor>& kept) const;
  double weights() const { return weights_; }  // of the counted layers, with all groups

 private:
  struct Side {
    std::optional<std::size_t> part;
    std::int64_t width;  // indices a group; without a part: of the whole axis
  };
  struct Matrix {
    Side rows, columns;
  };

  Side side_of(const Layer& layer, std::size_t axis) const;

  std::vector<CoupledGroups> parts_;
  std::vector<Matrix> counted_;
  std::map<const Layer*, Matrix> gated_;  // sides without a part are not multiplied
  std::vector<Layer*> multiplied_;
  double weights_ = 0;
};

}  // namespace wring

// Cosines batch by batch, added up in the order of the batches' names.
#include "engine/methods/structured/block_influence.h"

#include "engine/calibrate/block_walk.h"

namespace wring {
namespace {

// Sum over the rows of the cosine between two hidden states [batch, positions, hidden].
double sum_of_cosines(const at::Tensor& before, const at::Tensor& after) {
  const at::Tensor a = before.to(at::kDouble), b = after.to(at::kDouble);
  const at::Tensor norms = a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt();
  return ((a * b).sum(-1) / norms.clamp_min(1e-30)).sum().item<double>();
}

}  // namespace

double cosine_across(BlockStream& stream, const Calibration& calibration,
                     const std::function<void()>& advance) {
  auto before = stream.hidden();  // which the stream changes where they lie
  for (auto& batch : before) batch.tensor = batch.tensor.clone();
  advance();
  const auto after = stream.hidden();
  BlockTensors sums;
  for (std::size_t i = 0; i < before.size(); ++i)
    sums[before[i].suffix] = at::tensor({sum_of_cosines(before[i].tensor, after[i].tensor)}, at::kDouble);
  double sum = 0;
  for (const auto& [batch, part] : found_by_all(calibration.team(), std::move(sums)))
    sum += part.item<double>();
  return sum / static_cast<double>(calibration.ids.numel());
}

}  // namespace wring

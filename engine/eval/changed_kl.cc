// From the changed block on: what lies before it was run once.
#include "engine/eval/changed_kl.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace wring {
namespace {

constexpr std::int64_t kRowsPerHead = 128;  // logits of so many positions at once

}  // namespace

ChangedKl::ChangedKl(Model& model, at::Tensor ids)
    : model_(model),
      calibration_{std::move(ids), {}, Propagate::kDense},
      stream_(model, calibration_),
      log_probabilities_(at::empty({calibration_.ids.numel(), model.vocabulary_size()},
                                   at::TensorOptions(at::kFloat).device(model.device()))) {
  BlockStream whole = stream_;
  for (std::size_t block = 0; block < model_.block_count(); ++block) whole.advance(block);
  each_chunk(whole, [&](std::int64_t first, const at::Tensor& log_p) {
    log_probabilities_.narrow(0, first, log_p.size(0)).copy_(log_p);
  });
}

void ChangedKl::move_to(std::size_t block) {
  for (; at_ < block; ++at_) stream_.advance(at_);
}

double ChangedKl::from(BlockStream stream, std::size_t block) const {
  for (; block < model_.block_count(); ++block) stream.advance(block);
  double sum = 0;
  each_chunk(stream, [&](std::int64_t first, const at::Tensor& log_p) {
    const at::Tensor log_q = log_probabilities_.narrow(0, first, log_p.size(0));
    sum += (log_q.exp() * (log_q - log_p)).sum(at::kDouble).item<double>();
  });
  return sum / static_cast<double>(calibration_.ids.numel());
}

// `chunk` gets the index of its first token and the log-probabilities after each.
template <typename Chunk>
void ChangedKl::each_chunk(const BlockStream& stream, const Chunk& chunk) const {
  const DecodedLayers decoded(model_.head_layers(), at::kFloat);
  std::int64_t token = 0;
  for (const auto& batch : stream.hidden()) {
    const at::Tensor normed = model_.final_norm(batch.tensor).flatten(0, 1);
    for (std::int64_t first = 0; first < normed.size(0); first += kRowsPerHead) {
      const auto rows = std::min(kRowsPerHead, normed.size(0) - first);
      chunk(token, at::log_softmax(model_.head(normed.narrow(0, first, rows)), -1));
      token += rows;
    }
  }
}

}  // namespace wring

// Block by block: what was changed before goes on, what is changed here begins with the states as they are.
#include "engine/eval/changed_loss.h"

#include <algorithm>
#include <span>

#include "engine/train/losses.h"

namespace wring {
namespace {

constexpr std::int64_t kMostBytes = 256 << 20;  // of hidden states at once

at::Tensor run_changed(Model& model, std::size_t block, const at::Tensor& hidden, at::ScalarType dtype,
                       const LayerChange& change) {
  auto original = change.layer->shared_weight();
  change.layer->set_weight(change.weight);
  change.layer->materialize(dtype);
  const at::Tensor changed = model.run_block(block, hidden, {});
  change.layer->set_weight(std::move(original));
  change.layer->materialize(dtype);
  return changed;
}

double loss(const Model& model, const at::Tensor& hidden, const at::Tensor& ids) {
  double sum = 0;
  for (std::int64_t i = 0; i < ids.size(0); ++i)  // one sequence's logits at a time
    sum += next_token_loss(model.head(model.final_norm(hidden.narrow(0, i, 1))), ids.narrow(0, i, 1))
               .item<double>();
  return sum / static_cast<double>(ids.size(0));
}

std::vector<double> losses_at_once(Model& model, const at::Tensor& ids, at::ScalarType dtype,
                                   std::span<const LayerChange> changes) {
  at::Tensor hidden = model.embed(ids, at::kFloat);
  std::vector<at::Tensor> changed(changes.size());
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    const auto layers = model.block_layers(block);
    const DecodedLayers decoded(layers, dtype);
    for (std::size_t i = 0; i < changes.size(); ++i)
      if (changed[i].defined())
        changed[i] = model.run_block(block, changed[i], {});
      else if (std::find(layers.begin(), layers.end(), changes[i].layer) != layers.end())
        changed[i] = run_changed(model, block, hidden, dtype, changes[i]);
    hidden = model.run_block(block, hidden, {});
  }
  const DecodedLayers head(model.head_layers(), dtype);
  std::vector<double> losses;
  for (const auto& states : changed) losses.push_back(loss(model, states, ids));
  return losses;
}

}  // namespace

std::vector<double> changed_losses(Model& model, const at::Tensor& tokens, at::ScalarType dtype,
                                   const std::vector<LayerChange>& changes) {
  const at::Tensor ids = tokens.to(model.device());
  const std::int64_t states = ids.numel() * model.hidden_size() * static_cast<std::int64_t>(sizeof(float));
  const auto together = static_cast<std::size_t>(std::max<std::int64_t>(kMostBytes / states, 1));
  std::vector<double> losses;
  for (std::size_t first = 0; first < changes.size(); first += together) {
    const auto group = std::span(changes).subspan(first, std::min(together, changes.size() - first));
    const auto some = losses_at_once(model, ids, dtype, group);
    losses.insert(losses.end(), some.begin(), some.end());
  }
  return losses;
}

}  // namespace wring

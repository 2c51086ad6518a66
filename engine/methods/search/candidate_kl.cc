// Prefixes that candidates share are run once.
#include "engine/methods/search/candidate_kl.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "engine/calibrate/block_stream.h"
#include "engine/model/exchanged_weights.h"
#include "engine/model/model.h"

namespace wring {
namespace {

constexpr std::int64_t kRowsPerHead = 128;     // logits of so many positions at once
constexpr std::int64_t kTokensAtOnce = 16384;  // of hidden states

// The tokens alone, dense, in this process.
Calibration dense_tokens(const Calibration& calibration) {
  Calibration own;
  own.ids = calibration.ids;
  own.propagate = Propagate::kDense;
  own.observe = own.forward = calibration.forward;
  return own;
}

}  // namespace

CandidateKl::CandidateKl(Model& model, const std::vector<LayerVersions>& layers,
                         const Calibration& calibration, std::function<void()> look)
    : model_(model),
      layers_(layers),
      units_(model.block_count()),
      calibration_(dense_tokens(calibration)),
      look_(std::move(look)) {
  std::map<const Layer*, std::size_t> unit;
  for (std::size_t i = 0; i < layers.size(); ++i) unit[layers[i].layer] = i;
  BlockStream stream(model_, calibration_);
  for (std::size_t block = 0; block < model_.block_count(); ++block) {
    for (Layer* layer : model_.block_layers(block))
      if (const auto it = unit.find(layer); it != unit.end()) units_[block].push_back(it->second);
    look_();
    stream.advance(block);
  }
  std::vector<at::Tensor> hidden;
  for (const auto& batch : stream.hidden()) hidden.push_back(batch.tensor);
  dense_ = at::cat(hidden);
}

std::vector<double> CandidateKl::operator()(const std::vector<Assignment>& candidates, std::int64_t tokens,
                                            Random draw) const {
  std::vector<double> sums(candidates.size());
  const auto batches = draw_batches(tokens, draw);
  for (std::size_t first = 0; first < batches.size() && !candidates.empty();) {
    std::vector<Batch> some;
    for (std::int64_t held = 0; first < batches.size() && held < kTokensAtOnce; ++first) {
      some.push_back(batches[first]);
      held += some.back().ids.numel();
    }
    Prefixes prefixes = embedded(some, candidates.size());
    for (std::size_t block = 0; block < model_.block_count(); ++block) {
      look_();
      prefixes = after(block, candidates, prefixes);
    }
    const auto of_states = divergences(some, prefixes.states);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of_states[prefixes.of[i]];
  }
  for (auto& sum : sums) sum /= static_cast<double>(tokens);
  return sums;
}

std::vector<CandidateKl::Batch> CandidateKl::draw_batches(std::int64_t tokens, Random draw) const {
  const std::int64_t all = calibration_.ids.size(0), length = calibration_.ids.size(1);
  std::vector<std::int64_t> order(static_cast<std::size_t>(all));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const std::int64_t whole = tokens / length, rest = tokens % length;
  for (std::int64_t i = 0; i < whole + (rest > 0); ++i)
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(draw.between(i, all - 1))]);
  const at::Tensor drawn = at::tensor(order, at::kLong);
  std::vector<Batch> batches;
  for (std::int64_t first = 0; first < whole; first += calibration_.sequences_per_batch()) {
    const auto count = std::min(calibration_.sequences_per_batch(), whole - first);
    batches.push_back(batch_of(drawn.narrow(0, first, count), length));
  }
  if (rest > 0) batches.push_back(batch_of(drawn.narrow(0, whole, 1), rest));
  return batches;
}

CandidateKl::Batch CandidateKl::batch_of(const at::Tensor& sequences, std::int64_t positions) const {
  const auto take = [&](const at::Tensor& of) {
    return of.index_select(0, sequences.to(of.device())).narrow(1, 0, positions).to(model_.device());
  };
  return {take(calibration_.ids), take(dense_)};
}

CandidateKl::Prefixes CandidateKl::embedded(const std::vector<Batch>& batches, std::size_t candidates) const {
  const DecodedLayers decoded(model_.embedding_layers(), at::kFloat);
  Hidden hidden;
  for (const auto& batch : batches) hidden.push_back(model_.embed(batch.ids, at::kFloat));
  return {{std::move(hidden)}, std::vector<std::size_t>(candidates, 0)};
}

CandidateKl::Prefixes CandidateKl::after(std::size_t block, const std::vector<Assignment>& candidates,
                                         const Prefixes& before) const {
  // The block's levels, then the state before it: the candidates that have both.
  std::map<Assignment, std::map<std::size_t, std::vector<std::size_t>>> alike;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    Assignment levels;
    for (const auto unit : units_[block]) levels.push_back(candidates[i][unit]);
    alike[levels][before.of[i]].push_back(i);
  }
  Prefixes result{{}, std::vector<std::size_t>(candidates.size())};
  for (const auto& [levels, by_state] : alike) {
    ExchangedWeights::Weights weights;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const auto& [layer, versions] = layers_[units_[block][i]];
      weights.emplace_back(layer, versions[levels[i]].weight);
    }
    const ExchangedWeights exchanged(std::move(weights));
    const DecodedLayers decoded(model_.block_layers(block), calibration_.forward);
    for (const auto& [state, alike_candidates] : by_state) {
      for (const auto i : alike_candidates) result.of[i] = result.states.size();
      Hidden& hidden = result.states.emplace_back();
      for (const auto& batch : before.states[state]) hidden.push_back(model_.run_block(block, batch, {}));
    }
  }
  return result;
}

// Sums over all tokens.
std::vector<double> CandidateKl::divergences(const std::vector<Batch>& batches,
                                             const std::vector<Hidden>& states) const {
  const DecodedLayers decoded(model_.head_layers(), at::kFloat);
  std::vector<double> sums(states.size());
  const auto log_probabilities = [&](const at::Tensor& hidden, std::int64_t first, std::int64_t rows) {
    return at::log_softmax(model_.head(model_.final_norm(hidden.flatten(0, 1).narrow(0, first, rows))), -1);
  };
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const std::int64_t all = batches[b].ids.numel();
    for (std::int64_t first = 0; first < all; first += kRowsPerHead) {
      const auto rows = std::min(kRowsPerHead, all - first);
      const at::Tensor log_q = log_probabilities(batches[b].dense, first, rows), q = log_q.exp();
      for (std::size_t state = 0; state < states.size(); ++state) {
        const at::Tensor apart = log_q - log_probabilities(states[state][b], first, rows);
        sums[state] += (q * apart).sum(-1).sum(at::kDouble).item<double>();
      }
    }
  }
  return sums;
}

}  // namespace wring

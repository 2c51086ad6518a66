// KL divergence of a decoder's candidates, each a version of every layer, from the decoder as it is.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "common/random.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/evolution.h"
#include "engine/methods/search/level_database.h"

namespace wring {

// Runs the model once over all of the calibration set when it is made, and keeps its last hidden states.
class CandidateKl {
 public:
  // `layers` in the model's order. `look` is called now and then, and may throw.
  CandidateKl(Model& model, const std::vector<LayerVersions>& layers, const Calibration& calibration,
              std::function<void()> look);

  // Nats a token over all vocabulary, the mean over `tokens` tokens of sequences that `draw` chooses, the
  // last one cut off. Candidates go through the model together, block by block: those that are the same up to
  // a block have been run once up to there, and a block that several have alike is decoded once.
  std::vector<double> operator()(const std::vector<Assignment>& candidates, std::int64_t tokens,
                                 Random draw) const;

 private:
  struct Batch {
    at::Tensor ids;    // [sequences, positions]
    at::Tensor dense;  // [sequences, positions, hidden]: the model's last hidden states
  };
  using Hidden = std::vector<at::Tensor>;  // of each batch
  struct Prefixes {
    std::vector<Hidden> states;
    std::vector<std::size_t> of;  // each candidate's state
  };

  std::vector<Batch> draw_batches(std::int64_t tokens, Random draw) const;
  Batch batch_of(const at::Tensor& sequences, std::int64_t positions) const;
  Prefixes embedded(const std::vector<Batch>& batches, std::size_t candidates) const;
  Prefixes after(std::size_t block, const std::vector<Assignment>& candidates, const Prefixes& before) const;
  std::vector<double> divergences(const std::vector<Batch>& batches, const std::vector<Hidden>& states) const;

  Model& model_;
  const std::vector<LayerVersions>& layers_;
  std::vector<std::vector<std::size_t>> units_;  // of each block, indices of layers_
  Calibration calibration_;
  std::function<void()> look_;
  at::Tensor dense_;  // [sequences, positions, hidden]
};

}  // namespace wring

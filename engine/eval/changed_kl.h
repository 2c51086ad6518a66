// KL divergence of a decoder with some layers changed from the decoder as it was.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>

#include "engine/calibrate/block_stream.h"

namespace wring {

// Runs the model once when it is made, and keeps the log-probabilities: [tokens, vocabulary] fp32.
class ChangedKl {
 public:
  ChangedKl(Model& model, at::Tensor ids);  // int64 [sequences, positions]
  ChangedKl(const ChangedKl&) = delete;
  ChangedKl& operator=(const ChangedKl&) = delete;

  // Before a layer of `block` is changed; blocks only rise.
  void move_to(std::size_t block);

  // Nats a token, the mean over all tokens, of the model as it is now: with changes in the block moved to and
  // behind it, or anywhere.
  double from_block() const { return from(stream_, at_); }
  double from_start() const { return from(BlockStream(model_, calibration_), 0); }

 private:
  double from(BlockStream stream, std::size_t block) const;
  template <typename Chunk>
  void each_chunk(const BlockStream& stream, const Chunk& chunk) const;

  Model& model_;
  Calibration calibration_;
  BlockStream stream_;  // before block at_, through the model as it was
  std::size_t at_ = 0;
  at::Tensor log_probabilities_;
};

}  // namespace wring

// A calibration set's hidden states on their way through a model, block by block.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/tap_observer.h"
#include "engine/model/model.h"

namespace wring {

// Holds the hidden states before one block: first those that the embedding gives. They stay where they are as
// the blocks change them, so that a pass takes no more memory at its end than at its start. Where the
// calibration has stored statistics there are none, and only observe_and_advance() and observe_head() may be
// called. Of a team each process has those of its parts; what observers are shown becomes statistics over all
// of them.
class BlockStream {
 public:
  BlockStream(Model& model, const Calibration& calibration);
  BlockStream(const BlockStream& other);  // with hidden states of its own
  BlockStream(BlockStream&&) = default;
  BlockStream& operator=(BlockStream&&) = default;

  // Shows `observer` the inputs of the block's layers; the hidden states stay.
  void observe(std::size_t block, TapObserver& observer) const;

  // Goes on with the block's outputs.
  void advance(std::size_t block);

  // Both in one run of the block.
  void observe_and_advance(std::size_t block, TapObserver& observer);

  // Shows `observer` the inputs of the model's head. After the last block.
  void observe_head(Layer& head, TapObserver& observer) const;

  // This process's hidden states by batch: the stream's own tensors, which change as it goes on.
  std::vector<NamedTensor> hidden() const;

  // For a snapshot: those of all processes, in the first one. And back: each takes its own. Throws
  // Error(kDataLoss) where they do not fit.
  std::vector<NamedTensor> gather_hidden() const;
  void set_hidden(const std::map<std::string, at::Tensor>& hidden);

 private:
  struct Batch {
    at::Tensor hidden, mask, rows;  // rows: indices of real tokens, or undefined
  };

  struct Part {
    int number;
    std::vector<Batch> batches;
    std::string name(std::size_t batch) const { return std::to_string(number) + "." + std::to_string(batch); }
  };

  Part embed(int number, const at::Tensor& ids, const at::Tensor& mask) const;
  // Calls `show` with each batch.
  template <typename Parts, typename Show>
  void show_all(Parts& parts, TapObserver& observer, const Show& show) const;

  Model* model_;
  const Calibration* calibration_;
  std::vector<Part> parts_;
};

}  // namespace wring

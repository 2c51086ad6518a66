// The one calibration pass: a model streamed block by block, statistics of its layers' inputs, layers
// compressed on the way.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/model/model.h"

namespace wring {

class StoredStatistics;
class Team;

// What a block's inputs are computed through: the blocks before it as compressed, or as they were.
// kReference: those before it as compressed, and the block itself with the reference model's weights.
enum class Propagate { kCompressed, kDense, kReference };

struct Calibration {
  at::Tensor ids;   // [sequences, positions] int64: the tokens; undefined for data-free methods
  at::Tensor mask;  // [sequences, positions] bool for padded sequences, or undefined
  Propagate propagate = Propagate::kCompressed;
  // Of the linear layers' products (everything between them is fp32): where their inputs are observed, and
  // where a block's outputs are computed, through which an error reaches all that follows. kDense does both
  // in one, in `forward`.
  at::ScalarType observe = at::kFloat, forward = at::kFloat;

  // With kDense: what gather_statistics() made of the same model and tokens, which is read instead of
  // gathering it again; `ids` are not needed then.
  std::shared_ptr<const StoredStatistics> stored;

  // The processes that share the sequences; null: this one has all.
  Team* processes = nullptr;
  Team& team() const;

  // That go through a block at once: bounds the activations of one forward.
  std::int64_t sequences_per_batch() const { return std::max<std::int64_t>(1, 2048 / ids.size(1)); }
};

// Compresses the stage's targets in place with `method`. Only one block's statistics and decoded weights are
// in memory at a time. A calibrated pass goes on after the last block that the snapshot holds, and keeps each
// block that it finishes there. Returns one report a layer, in model order:
//   {"layer", "shape": [out, in], "error": relative output error (weight error for data-free methods),
//   "sparsity", "bits": stored bits a weight, ...what the method added}.
// With a reference, errors are those from its weights, and "error_before" is the one that the stage found.
// Throws Error(kInvalidArgument, "REFERENCE_MISMATCH") where it has no such layer, one of another shape,
// or other norms.
std::vector<Json> compress_layers(const StageInput& stage, const LayerMethod& method);

}  // namespace wring

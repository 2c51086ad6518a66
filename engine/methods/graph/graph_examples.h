// Examples of a stage's data that go through its graph without labels.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/methods/graph_method.h"

namespace wring {

// Examples that go through a graph `at_once` together, by number.
struct GraphExamples {
  std::int64_t count = 0, at_once = 1;
  std::function<NamedValues(const at::Tensor& numbers)> inputs;  // of int64 [at_once]
};

// At most `wanted` of the stage's examples, drawn by its seed: of `batches` where they are at hand; else
// labelled ones where the graph has one input of floats, or arrays by the names of its inputs. Refers to the
// stage's graph.
GraphExamples drawn_examples(const GraphStage& stage, std::int64_t wanted, const Normalisation& normalisation,
                             std::shared_ptr<const Batches> batches = nullptr);

}  // namespace wring

// What a method for graphs is: it takes a graph and gives back another one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/classifier.h"
#include "engine/graph/graph.h"
#include "engine/methods/graph_targets.h"
#include "engine/methods/method.h"

namespace wring {

struct GraphStage {
  Graph& graph;  // may be trained in place
  // The labelled examples under the parameter `data`, as the graph takes them; of methods that read data.
  std::function<Batches(const Normalisation& normalisation)> data;
  Progress& progress;
  Snapshot& snapshot;
  std::uint64_t seed = 0;  // the job's
  // The same data as one array for each of the graph's inputs, examples along their first axes.
  std::function<NamedValues()> arrays = {};
  GraphTargets targets = {};
  // The graph that the stage works towards, read anew; of methods whose spec needs one.
  std::function<std::unique_ptr<Graph>()> reference = {};
};

// Immutable. The methods for token models are `Method`s (method.h): their specs take other kinds.
class GraphMethod {
 public:
  virtual ~GraphMethod() = default;

  // Throws Error(kInvalidArgument) naming the parameter's field where the graph cannot be transformed so.
  // Called before anything runs, on the job's input.
  virtual void check(const Graph& graph) const = 0;

  // Whether it can leave layers as they are; else a recipe that names some is refused.
  virtual bool takes_targets() const { return true; }

  // Puts into `report` what a person should know.
  virtual OnnxModel run(const GraphStage& stage, Json& report) const = 0;
};

using GraphMethodFactory = std::unique_ptr<GraphMethod> (*)(const Params& params);
bool register_graph_method(const char* name, GraphMethodFactory factory);
std::unique_ptr<GraphMethod> make_graph_method(const std::string& name, const Params& params);

// Registers Class under the name of its spec.
#define WRING_GRAPH_METHOD(name, Class)                                                  \
  [[maybe_unused]] const bool registered_##Class = ::wring::register_graph_method(       \
      name, [](const ::wring::Params& params) -> std::unique_ptr<::wring::GraphMethod> { \
        return std::make_unique<Class>(params);                                          \
      })

}  // namespace wring

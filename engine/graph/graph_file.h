// Graphs as models on disk: the .onnx file of a folder, and the Wring folder written of a graph.
#pragma once

#include <filesystem>
#include <memory>

#include "common/files.h"
#include "common/json.h"
#include "engine/graph/graph.h"
#include "formats/file_tree.h"

namespace wring {

// External data are looked for beside the file. Throws as read_onnx() and Graph do, and kInvalidArgument
// "AMBIGUOUS_MODEL" where there are several .onnx files.
std::unique_ptr<Graph> load_graph(const FileTree& tree, at::Device device = at::kCPU);

// Writes the .onnx file under the name that it has in `source`, wring.json with the lineage, and what else
// travels with the model. Deterministic: equal graph, equal bytes.
void save_graph(const Graph& graph, const FileTree& source, const Json& lineage,
                const std::filesystem::path& folder, Durability durability = Durability::kMachine);

// Some values for each input, the same each time: whole numbers 0, others between -1 and 1. Where the first
// size is free it is `batch`. Throws Error(kInvalidArgument, "FREE_SIZE") naming an input with another free
// one.
NamedValues example_inputs(const Graph& graph, std::int64_t batch);

// How many examples `values` are: the first size of the first input that has one.
std::int64_t example_count(const Graph& graph, const NamedValues& values);

}  // namespace wring

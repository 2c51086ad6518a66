// Examples for graphs that labelled images do not go through: an array for each input.
#pragma once

#include <string>

#include "engine/graph/graph.h"
#include "formats/file_tree.h"

namespace wring {

// The data `name`: an .npz or .safetensors file with an array [n, ...] under the name of each of the graph's
// inputs, of its type (whole numbers of any size for an input of int64). Throws Error(kInvalidArgument,
// "BAD_DATA") that says what is there in its place.
NamedValues read_input_arrays(const Graph& graph, const FileTree& files, const std::string& name);

}  // namespace wring

// Initializers that several nodes read, where one of them needs its own.
#pragma once

#include <cstddef>
#include <string>

#include "formats/onnx/onnx.h"

namespace wring {

// `stem`, with a number behind it where a value of the graph has that name.
std::string free_name(const OnnxGraph& graph, const std::string& stem);

// How often the graph's nodes, the graphs inside them and its outputs read the value.
std::size_t readers_of(const OnnxGraph& graph, const std::string& name);

// The initializer that only this node reads as this input: a copy of another name where it has other readers.
// Null where the input is no initializer of the graph.
OnnxTensor* own_initializer(OnnxGraph& graph, OnnxNode& node, std::size_t input);

// Gives each batch normalisation running statistics of its own, which training moves in place: exporters
// merge initializers that are equal, such as the means of layers that saw no batch yet.
void own_running_statistics(OnnxGraph& graph);

}  // namespace wring

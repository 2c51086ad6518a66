// Layers of a graph as products of a weight with columns of their input, whatever operator they are.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/methods/graph/graph_examples.h"

namespace wring {

// A Conv of one group, a Gemm or a MatMul that alone reads its weight. Its output is W X with W [out,
// columns], where each index of the weight's input axis has `each` neighbouring columns: a kernel's elements.
struct PlainReader {
  std::string weight;
  std::int64_t axis;  // of the weight's inputs
  std::int64_t each;
};

// In the order of the nodes.
std::vector<PlainReader> plain_readers(const Graph& graph);

// W, fp64; and back into the graph's own tensor.
at::Tensor weight_rows(Graph& graph, const PlainReader& reader);
void set_weight_rows(Graph& graph, const PlainReader& reader, const at::Tensor& rows);

// Sums over the examples, fp64 [columns, columns]: of a layer's input X' as it is and X as it was.
struct Grams {
  at::Tensor is, is_was, was;  // X' X'^T, X' X^T, X X^T
};

// `was`: a graph with a layer of that weight, too.
Grams input_grams(const Graph& graph, const Graph& was, const PlainReader& reader,
                  const GraphExamples& examples);

// The W' of least ||W' X' - W X||^2 + d ||W' - W||^2, d as a share of the mean diagonal of X' X'^T.
at::Tensor fitted_rows(const at::Tensor& rows, const Grams& grams, double damping);

// ||W' X' - W X||^2 over ||W X||^2.
double fit_error(const at::Tensor& fitted, const at::Tensor& rows, const Grams& grams);

// Solves the layer anew: towards its outputs in `was`, from its inputs as they are. Returns a line for a
// report.
Json solve_layer(Graph& graph, Graph& was, const PlainReader& reader, const GraphExamples& examples,
                 double damping);

}  // namespace wring

// How fast one token goes through the linear layers of a SmolLM2-135M whose weights are in levels, beside the
// same layers dense in fp32: all weights in turn, so that none is in a cache. Prints milliseconds of the
// fastest of some passes, and the bytes of weights a second.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "common/clock.h"
#include "engine/math/matmul.h"
#include "engine/model/residual_rep.h"

namespace wring {
namespace {

constexpr int kBlocks = 30;
const std::vector<std::pair<std::int64_t, std::int64_t>> kShapes{
    {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};

template <typename Pass>
void measure(const char* name, double bytes, int passes, const Pass& pass) {
  double best = 1e9;
  for (int i = 0; i <= passes; ++i) {
    const Stopwatch watch;
    pass();
    if (i > 0) best = std::min(best, watch.seconds());
  }
  std::printf("%-24s %8.2f ms  %7.1f MB  %6.2f GB/s\n", name, 1e3 * best, bytes / 1e6, bytes / best / 1e9);
}

std::shared_ptr<const WeightRep> drawn(std::int64_t levels, std::int64_t rows, std::int64_t columns,
                                       std::int64_t rank) {
  return residual_rep({at::rand({levels, rows, columns}) < 0.5, at::rand({levels, rows, rank}).to(at::kHalf),
                       at::rand({levels, rank, columns}).to(at::kHalf)});
}

void run(int passes) {
  const c10::InferenceMode guard;
  const at::Tensor narrow = at::randn({1, 576}), wide = at::randn({1, 1536});
  const auto input = [&](std::int64_t columns) { return columns == 576 ? narrow : wide; };
  {
    std::vector<at::Tensor> weights;
    double bytes = 0;
    for (int block = 0; block < kBlocks; ++block)
      for (const auto& [rows, columns] : kShapes) {
        weights.push_back(at::randn({rows, columns}));
        bytes += static_cast<double>(weights.back().nbytes());
      }
    measure("dense fp32", bytes, passes, [&] {
      for (const auto& weight : weights) (void)wring::linear(input(weight.size(1)), weight);
    });
  }
  for (const auto& [levels, rank] :
       {std::pair{1, 2}, {2, 2}, {3, 2}, {4, 2}, {4, 1}, {8, 1}, {2, 4}, {1, 8}}) {
    std::vector<std::shared_ptr<const WeightRep>> weights;
    double bytes = 0;
    for (int block = 0; block < kBlocks; ++block)
      for (const auto& [rows, columns] : kShapes) {
        weights.push_back(drawn(levels, rows, columns, rank));
        bytes += static_cast<double>(weights.back()->stored_bytes());
      }
    const auto name = std::to_string(levels) + " levels of rank " + std::to_string(rank);
    measure(name.c_str(), bytes, passes, [&] {
      for (const auto& weight : weights) (void)weight->multiply(input(weight->columns()));
    });
  }
}

}  // namespace
}  // namespace wring

int main(int argc, char** argv) {
  CLI::App app("One token through layers in levels, beside dense ones.");
  int passes = 10, threads = 1;
  app.add_option("--passes", passes, "The fastest counts")->capture_default_str();
  app.add_option("--threads", threads, "Of a product")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(threads);
  wring::run(passes);
}

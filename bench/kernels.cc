// How fast one token goes through the linear layers of a SmolLM2-135M in each form that weights are stored
// in, beside the same layers dense in fp32: all weights in turn, so that none is in a cache when it is met
// again.
//   wring_kernels_bench [--threads 1] [--passes 10] [NAME...]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "engine/math/matmul.h"
#include "engine/model/residual_rep.h"
#include "engine/model/weight_rep.h"

namespace wring {
namespace {

using Rep = std::shared_ptr<const WeightRep>;
using MakeRep = std::function<Rep(std::int64_t rows, std::int64_t columns)>;

constexpr int kBlocks = 30;
const std::vector<std::pair<std::int64_t, std::int64_t>> kShapes{
    {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};

struct Form {
  std::string name;
  MakeRep make;
};

Rep packed(int bits, std::int64_t group_size, bool zeros, std::int64_t rows, std::int64_t columns) {
  const std::int64_t groups = columns / group_size;
  const auto codes = [&](std::int64_t width) { return at::randint(1 << bits, {rows, width}, at::kByte); };
  return packed_int_rep({bits, group_size, codes(columns), at::rand({rows, groups}).to(at::kHalf),
                         zeros ? codes(groups) : at::Tensor()});
}

Rep levels(std::int64_t count, std::int64_t rank, std::int64_t rows, std::int64_t columns) {
  return residual_rep({at::rand({count, rows, columns}) < 0.5, at::rand({count, rows, rank}).to(at::kHalf),
                       at::rand({count, rank, columns}).to(at::kHalf)});
}

std::vector<Form> forms() {
  std::vector<Form> all{{"dense fp32", [](auto rows, auto columns) {
                           return dense_rep(at::randn({rows, columns}));
                         }}};
  for (const int bits : {2, 3, 4, 8})
    all.push_back({std::to_string(bits) + " bits, groups of 64",
                   [=](auto rows, auto columns) { return packed(bits, 64, false, rows, columns); }});
  for (const std::int64_t group_size : {32, 192})
    all.push_back({"4 bits, groups of " + std::to_string(group_size),
                   [=](auto rows, auto columns) { return packed(4, group_size, false, rows, columns); }});
  all.push_back({"4 bits, groups of 64, zeros",
                 [](auto rows, auto columns) { return packed(4, 64, true, rows, columns); }});
  all.push_back({"low rank, a quarter", [](auto rows, auto columns) {
                   const auto rank = rows * columns / (4 * (rows + columns));
                   return low_rank_rep(at::randn({rank, columns}), at::randn({rows, rank}));
                 }});
  for (const auto& [count, rank] : {std::pair{1, 2}, {2, 2}, {3, 2}, {4, 2}, {4, 1}, {8, 1}, {2, 4}, {1, 8}})
    all.push_back({std::to_string(count) + " levels of rank " + std::to_string(rank),
                   [count = count, rank = rank](auto rows, auto columns) {
                     return levels(count, rank, rows, columns);
                   }});
  return all;
}

// Of the fastest of some passes after one that warms up.
double fastest(int passes, const std::function<void()>& pass) {
  double best = 1e9;
  for (int i = 0; i <= passes; ++i) {
    const Stopwatch watch;
    pass();
    if (i > 0) best = std::min(best, watch.seconds());
  }
  return best;
}

// Bytes a second that as many threads read of a GB, by sums: what a kernel that does nothing but read could
// have.
double bandwidth(int passes) {
  const at::Tensor memory = at::ones({1 << 28});
  return static_cast<double>(memory.nbytes()) / fastest(passes, [&] { (void)memory.sum(); });
}

double seconds(const Form& form, int passes, double& bytes) {
  std::vector<Rep> weights;
  for (int block = 0; block < kBlocks; ++block)
    for (const auto& [rows, columns] : kShapes) {
      weights.push_back(form.make(rows, columns));
      bytes += static_cast<double>(weights.back()->stored_bytes());
    }
  const at::Tensor narrow = at::randn({1, 576}), wide = at::randn({1, 1536});
  return fastest(passes, [&] {
    for (const auto& weight : weights) {
      const at::Tensor& x = weight->columns() == 576 ? narrow : wide;
      if (!weight->multiply(x).defined()) (void)wring::linear(x, weight->decode(at::kFloat));
    }
  });
}

void run(const std::vector<std::string>& names, int passes) {
  const c10::InferenceMode guard;
  at::manual_seed(0);
  const double read = bandwidth(passes);
  std::printf(
      "one token through %d x %zu layers, %d threads, the fastest of %d; memory is read at %.1f GB/s\n",
      kBlocks, kShapes.size(), at::get_num_threads(), passes, read / 1e9);
  std::printf("%-30s %9s %9s %9s %8s %9s\n", "weights", "ms", "MB", "GB/s", "of read", "x dense");
  double dense = 0;
  for (const Form& form : forms()) {
    const bool is_dense = dense == 0;
    if (!is_dense && !names.empty() && std::none_of(names.begin(), names.end(), [&](const auto& name) {
          return form.name.starts_with(name);
        }))
      continue;
    double bytes = 0;
    const double time = seconds(form, passes, bytes);
    if (is_dense) dense = time;
    std::printf("%-30s %9.2f %9.1f %9.2f %7.0f%% %9.2f\n", form.name.c_str(), 1e3 * time, bytes / 1e6,
                bytes / time / 1e9, 100 * bytes / time / read, dense / time);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace wring

int main(int argc, char** argv) {
  CLI::App app("One token through layers in each form of weights, beside dense ones.");
  int passes = 10, threads = 1;
  std::vector<std::string> names;
  app.add_option("--passes", passes, "The fastest counts")->capture_default_str();
  app.add_option("--threads", threads, "Of a product")->capture_default_str();
  app.add_option("NAME", names, "Forms whose names begin so; all where none is given");
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(threads);
  wring::run(names, passes);
}

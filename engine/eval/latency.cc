// Time of a forward pass and of a graph's nodes, and tokens a second of cached greedy decoding; medians after
// warm-up.
#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>

#include "common/clock.h"
#include "engine/eval/graph_suite.h"
#include "engine/graph/graph_file.h"
#include "engine/model/generate.h"

namespace wring {
namespace {

EvaluationRow row(std::string metric, double value, std::string unit, std::int64_t n) {
  EvaluationRow r;
  r.suite = "latency";
  r.metric = std::move(metric);
  r.value = value;
  r.unit = std::move(unit);
  r.n = static_cast<std::uint64_t>(n);
  return r;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Of a pass that ends with its result at hand.
double median_seconds(std::int64_t repeats, Progress& progress, const std::function<void()>& pass) {
  std::vector<double> seconds;
  for (std::int64_t i = -1; i < repeats; ++i) {  // the first one warms up
    const Stopwatch watch;
    pass();
    if (i >= 0) seconds.push_back(watch.seconds());
    progress.report(static_cast<std::uint64_t>(i + 1), static_cast<std::uint64_t>(repeats), "passes");
  }
  return median(seconds);
}

double forward_seconds(EvaluationInput& input, std::int64_t batch, std::int64_t length,
                       std::int64_t repeats) {
  const auto ids =
      at::randint(0, input.model.vocabulary_size(), {batch, length}, at::kLong).to(input.model.device());
  const DecodedLayers decoded(input.model.layers(), at::kFloat);
  return median_seconds(repeats, input.progress, [&] { (void)input.model.forward(ids).sum().item<float>(); });
}

// Median over three runs of tokens / second, prompt of 8 tokens not counted.
double decode_speed(EvaluationInput& input, std::int64_t tokens) {
  const DecodedLayers decoded = ready_for_decoding(input.model);
  const std::vector<std::int32_t> prompt(8, 1);
  std::vector<double> speeds;
  for (int run = 0; run < 4; ++run) {
    std::optional<Stopwatch> watch;
    double seconds = 0;
    std::int64_t counted = 0;
    GenerateOptions options;
    options.tokens = std::min(tokens, context_length(input.model) - 9) + 1;
    (void)generate(input.model, prompt, options, [&](std::int32_t) {
      if (watch) {
        seconds = watch->seconds();
        ++counted;
      } else {
        watch.emplace();
      }
    });
    if (run > 0) speeds.push_back(static_cast<double>(counted) / seconds);
  }
  return median(speeds);
}

std::vector<EvaluationRow> latency(const Params& params, EvaluationInput& input) {
  const auto batch = params.get<std::int64_t>("batch"), length = params.get<std::int64_t>("length");
  const auto repeats = params.get<std::int64_t>("repeats"),
             tokens = params.get<std::int64_t>("decode_tokens");
  std::vector<EvaluationRow> rows{
      row("forward_seconds", forward_seconds(input, batch, length, repeats), "s", repeats)};
  rows.back().details = {{"batch", batch}, {"length", length}};
  if (input.model.kind() == "decoder-lm" && tokens > 1)
    rows.push_back(row("decode_speed", decode_speed(input, tokens), "tokens/s", tokens));
  return rows;
}

// Medians of so many passes more.
Json node_seconds(const Graph& graph, const NamedValues& values, std::int64_t repeats) {
  const std::vector<NodeCost> nodes = graph.measure(values);  // warms up
  std::vector<std::vector<double>> seconds(nodes.size());
  for (std::int64_t i = 0; i < repeats; ++i) {
    const auto costs = graph.measure(values);
    for (std::size_t node = 0; node < nodes.size(); ++node) seconds[node].push_back(costs[node].seconds);
  }
  Json list = Json::array();
  for (std::size_t node = 0; node < nodes.size(); ++node)
    list.push_back({{"node", nodes[node].name},
                    {"operation", nodes[node].operation},
                    {"seconds", median(std::move(seconds[node]))}});
  return list;
}

// On values of the graph's own making; a batch that the file fixes stays.
std::vector<EvaluationRow> graph_latency(const Params& params, const GraphEvaluation& input) {
  const auto batch = params.get<std::int64_t>("batch"), repeats = params.get<std::int64_t>("repeats");
  const c10::NoGradGuard unrecorded;
  const NamedValues values = example_inputs(input.graph, batch);
  std::vector<EvaluationRow> rows{row("forward_seconds",
                                      median_seconds(repeats, input.progress,
                                                     [&] {
                                                       for (const auto& [name, value] :
                                                            input.graph.run(values))
                                                         (void)value.sum().item();
                                                     }),
                                      "s", repeats)};
  rows.back().details = {{"batch", example_count(input.graph, values)},
                         {"nodes", node_seconds(input.graph, values, repeats)}};
  return rows;
}

WRING_SUITE("latency", latency);
WRING_GRAPH_SUITE("latency", graph_latency);

}  // namespace
}  // namespace wring

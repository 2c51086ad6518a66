// Accuracy of a graph on labelled examples.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "engine/eval/graph_suite.h"
#include "engine/graph/classifier.h"

namespace wring {
namespace {

EvaluationRow row(const char* metric, double value, const char* unit, double variance, std::uint64_t n) {
  EvaluationRow r;
  r.suite = "accuracy";
  r.metric = metric;
  r.value = value;
  r.unit = unit;
  r.n = n;
  r.standard_error = std::sqrt(variance / static_cast<double>(n));
  return r;
}

// Top-1, a binomial share; and the mean cross entropy.
std::vector<EvaluationRow> accuracy(const Params& params, const GraphEvaluation& input) {
  const auto name = params.get<std::string>("data");
  const Classifier classifier(input.graph);
  const Batches batches = read_batches(classifier, input.data(name), name, Normalisation::from(params));
  const auto most = params.get<std::int64_t>("examples");
  const std::int64_t count = most > 0 ? std::min(most, batches.count()) : batches.count();
  auto generator = at::make_generator<at::CPUGeneratorImpl>(input.seed);
  const at::Tensor drawn =
      count == batches.count()
          ? at::arange(count, at::kLong)
          : at::randperm(batches.count(), generator, at::TensorOptions(at::kLong)).narrow(0, 0, count);
  const Scored scored = classifier.score(batches, drawn, [&](std::uint64_t done, const Scored& so_far) {
    input.progress.report(done, static_cast<std::uint64_t>(count), "examples", "accuracy", so_far.accuracy());
  });
  const double p = scored.accuracy(), loss = scored.mean_loss();
  const double spread = scored.squared_loss / static_cast<double>(scored.count) - loss * loss;
  return {row("top1", p, "", p * (1 - p), scored.count),
          row("cross_entropy", loss, "nats", std::max(0.0, spread), scored.count)};
}

WRING_GRAPH_SUITE("accuracy", accuracy);

}  // namespace
}  // namespace wring

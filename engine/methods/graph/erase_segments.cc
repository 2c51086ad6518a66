// Erases whole branches of a graph, one after the other: each time the one without which the loss rises least
// for the multiply-adds that it spares (segments as in OTOv3, Chen et al. 2023; card C2, A, B and D).
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>

#include "common/error.h"
#include "engine/graph/macs.h"
#include "engine/graph/segments.h"
#include "engine/methods/graph/graph_training.h"
#include "engine/methods/graph/readers.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

// A graph without some segments.
struct Erased {
  std::vector<std::size_t> segments;
  double loss = 0;
  std::uint64_t macs = 0;
};

// What all candidates are measured with.
struct Measured {
  const GraphStage& stage;
  const std::vector<GraphSegment>& segments;
  const Batches& batches;
  const at::Tensor& examples;  // numbers
  const NamedValues& example;

  Erased operator()(std::vector<std::size_t> erased) const {
    Graph graph(erase_segments(stage.graph, segments, erased));
    graph.compute_on(stage.graph.device());
    const double loss = Classifier(graph).score(batches, examples).mean_loss();
    return {std::move(erased), loss, macs_of(graph, example)};
  }
};

class EraseSegments final : public GraphMethod {
 public:
  explicit EraseSegments(const Params& params)
      : target_(params.get<double>("target_macs")),
        examples_(params.get<std::int64_t>("examples")),
        solve_on_(params.get<std::int64_t>("solve_on")),
        damping_(params.get<double>("damping")),
        normalisation_(Normalisation::from(params)) {}

  void check(const Graph& graph) const override { (void)Classifier(graph); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const c10::NoGradGuard unrecorded;
    const Batches batches = stage.data(normalisation_);
    const NamedValues example = example_of(stage.graph, batches);
    const auto segments = segments_of(stage, example);
    auto generator = at::make_generator<at::CPUGeneratorImpl>(stage.seed);
    const at::Tensor drawn = at::randperm(batches.count(), generator, at::TensorOptions(at::kLong))
                                 .narrow(0, 0, std::min(examples_, batches.count()));
    report["layers"] = Json::array();
    const Erased last = search({stage, segments, batches, drawn, example}, report);
    report["segments"] = segments.size();
    report["removed"] = last.segments.size();
    OnnxModel model = erase_segments(stage.graph, segments, last.segments);
    Graph was(stage.graph.to_onnx());
    zero_segments(stage.graph, segments, last.segments);
    check_cut(stage.graph, model, example, report);
    return solve_on_ > 0 && !last.segments.empty() ? solved(stage, was, model, report) : model;
  }

 private:
  // All layers that are left, in their order: those before the first branch that left stay as they are.
  OnnxModel solved(const GraphStage& stage, Graph& was, const OnnxModel& erased, Json& report) const {
    Graph graph(erased);
    for (Graph* each : {&was, &graph}) each->compute_on(stage.graph.device());
    const GraphExamples examples = drawn_examples(stage, solve_on_, normalisation_);
    const auto readers = plain_readers(graph);
    report["solved"] = Json::array();
    for (const auto& reader : readers) {
      report["solved"].push_back(solve_layer(graph, was, reader, examples, damping_));
      stage.progress.report(report["solved"].size(), readers.size(), "layers");
    }
    return graph.to_onnx();
  }

  // Those all of whose layers are targeted.
  static std::vector<GraphSegment> segments_of(const GraphStage& stage, const NamedValues& example) {
    auto segments = find_segments(stage.graph, example);
    const auto stay = stage.targets.left_out(stage.graph);
    std::erase_if(segments, [&](const GraphSegment& segment) {
      return std::any_of(segment.parameters.begin(), segment.parameters.end(),
                         [&](const std::string& name) { return stay.contains(name); });
    });
    if (segments.empty())
      throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_CUT",
                  "no branch of this graph ends at a sum that could do without it", "model",
                  "docs/graphs.md says which branches can be erased; of a chain without sums cut units.");
    return segments;
  }

  Erased search(const Measured& measure, Json& report) const {
    Erased now = measure({});
    report["loss_before"] = now.loss;
    const double limit = target_ * static_cast<double>(now.macs);
    const std::uint64_t most = measure.segments.size();
    while (static_cast<double>(now.macs) > limit) {
      const auto next = cheapest(measure, now);
      if (!next) break;
      now = *next;
      const GraphSegment& segment = measure.segments[now.segments.back()];
      report["layers"].push_back({{"layer", segment.parameters.front()},
                                  {"nodes", segment.nodes.size()},
                                  {"loss", now.loss},
                                  {"macs", now.macs}});
      measure.stage.progress.report(now.segments.size(), most, "segments");
    }
    measure.stage.progress.report(most, most, "segments");
    return now;
  }

  // One segment more; nothing where none can leave.
  static std::optional<Erased> cheapest(const Measured& measure, const Erased& now) {
    std::optional<Erased> best;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < measure.segments.size(); ++i) {
      if (is_gone(measure.segments, now.segments, i)) continue;
      std::vector<std::size_t> more = now.segments;
      more.push_back(i);
      if (!can_erase(measure.stage.graph, measure.segments, more)) continue;
      Erased next = measure(std::move(more));
      const double spared = static_cast<double>(now.macs) - static_cast<double>(next.macs);
      const double price = (next.loss - now.loss) / std::max(spared, 1.0);
      if (!(price < least)) continue;
      least = price;
      best = std::move(next);
    }
    return best;
  }

  // By itself, or inside another one.
  static bool is_gone(const std::vector<GraphSegment>& segments, const std::vector<std::size_t>& erased,
                      std::size_t i) {
    return std::any_of(erased.begin(), erased.end(), [&](std::size_t other) {
      const auto& nodes = segments[other].nodes;
      return other == i || std::binary_search(nodes.begin(), nodes.end(), segments[i].joint);
    });
  }

  double target_;
  std::int64_t examples_, solve_on_;
  double damping_;
  Normalisation normalisation_;
};

WRING_GRAPH_METHOD("erase-segments", EraseSegments);

}  // namespace
}  // namespace wring

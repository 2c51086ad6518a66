// UDFC: channels that are cut or rounded are written as sums of the ones that stay, from weights and norms
// alone, and the sums go into the layers that read them (Bai et al., ICCV 2023; card C5).
#include <ATen/ops/linalg_cholesky.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "engine/graph/graph_file.h"
#include "engine/graph/rounding.h"
#include "engine/methods/graph/units.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

constexpr int kOuterBits = 8, kExactBits = 16;
constexpr double kLeastOwn = 0.1, kMostOwn = 10;  // scales of a channel by itself

// A weight whose rows are output channels. `family`: of its channels, where they can be made up for.
struct PrunedLayer {
  std::string weight;
  std::int64_t axis = 0;  // of the output channels
  const OnnxNode* node = nullptr;
  const OnnxNode* norm = nullptr;  // the batch normalisation that alone reads it; may be null
  std::optional<std::size_t> family;
};

// The places in a reader's weight that a channel is multiplied by.
struct Reader {
  std::string weight;
  std::int64_t axis;
  std::vector<std::vector<std::int64_t>> indices;  // by unit of the family
};

class Layers {
 public:
  Layers(Graph& graph, const GraphLabels& labels) : graph_(graph), labels_(labels) {
    for (const auto& node : graph.nodes().nodes) {
      for (const auto& name : node.inputs) readers_[name].push_back(&node);
      const bool convolves = node.operation == "Conv";
      if (!convolves && node.operation != "Gemm" && node.operation != "MatMul") continue;
      const auto* turned = node.find("transB");
      const bool rows = convolves || (turned && std::get<std::int64_t>(turned->value) != 0);
      const at::Tensor* weight = graph.find_tensor(node.inputs.at(1));
      const bool again = std::any_of(list_.begin(), list_.end(), [&](const PrunedLayer& layer) {
        return layer.weight == node.inputs[1];  // one weight in two nodes is rounded, and made up for, once
      });
      if (weight && !again && (convolves || weight->dim() == 2))
        list_.push_back({node.inputs[1], rows ? 0 : 1, &node});
    }
    for (auto& layer : list_) find_norm(layer);
    for (std::size_t f = 0; f < labels.families.size(); ++f) find_family(f);
  }

  const std::vector<PrunedLayer>& list() const { return list_; }

  const std::vector<std::size_t>& units(const PrunedLayer& layer) const {
    return labels_.families[*layer.family].units;
  }
  // Which of the layer's channels a unit is.
  std::int64_t channel(const PrunedLayer& layer, std::size_t unit) const {
    return slice_of(labels_.units[unit].producers, layer.weight)->indices.front();
  }
  std::vector<Reader> readers(const PrunedLayer& layer) const {
    std::vector<Reader> readers;
    for (const auto& other : list_) {
      if (!slice_of(labels_.units[units(layer).front()].slices, other.weight) || other.weight == layer.weight)
        continue;
      Reader reader{other.weight, 1 - other.axis, {}};
      for (const auto unit : units(layer))
        reader.indices.push_back(slice_of(labels_.units[unit].slices, other.weight)->indices);
      readers.push_back(std::move(reader));
    }
    return readers;
  }

 private:
  static const GraphSlice* slice_of(const std::vector<GraphSlice>& slices, const std::string& tensor) {
    for (const auto& slice : slices)
      if (slice.tensor == tensor) return &slice;
    return nullptr;
  }

  void find_norm(PrunedLayer& layer) {
    const auto& readers = readers_[layer.node->outputs.front()];
    if (layer.node->operation == "Conv" && readers.size() == 1 &&
        readers.front()->operation == "BatchNormalization")
      layer.norm = readers.front();
  }

  // Channels that one convolution and its norm make, and that plain layers read.
  void find_family(std::size_t f) {
    const GraphUnit& unit = labels_.units[labels_.families[f].units.front()];
    PrunedLayer* maker = nullptr;
    for (auto& layer : list_) {
      const GraphSlice* slice = slice_of(unit.producers, layer.weight);
      if (!slice) continue;
      if (maker || layer.node->operation != "Conv" || slice->axis != 0 || slice->indices.size() != 1) return;
      maker = &layer;
    }
    if (!maker) return;
    std::set<std::string> own{maker->weight};
    if (maker->node->inputs.size() > 2) own.insert(maker->node->inputs[2]);
    if (maker->norm) own.insert(maker->norm->inputs.begin() + 1, maker->norm->inputs.end());
    for (const auto& slice : unit.slices)
      if (!own.contains(slice.tensor) && !reads_plainly(slice)) return;
    maker->family = f;
  }

  bool reads_plainly(const GraphSlice& slice) const {
    return std::any_of(list_.begin(), list_.end(), [&](const PrunedLayer& layer) {
      const auto* groups = layer.node->find("group");
      return layer.weight == slice.tensor && slice.axis == 1 - layer.axis &&
             (!groups || std::get<std::int64_t>(groups->value) == 1);
    });
  }

  Graph& graph_;
  const GraphLabels& labels_;
  std::vector<PrunedLayer> list_;
  std::map<std::string, std::vector<const OnnxNode*>> readers_;
};

// What a channel computes before its activation: row j of u times the input, plus b_j. fp64.
struct Affine {
  at::Tensor factor, rows, offset;
};

class Udfc final : public GraphMethod {
 public:
  explicit Udfc(const Params& params)
      : ratio_(params.get<double>("prune_ratio")),
        bits_(static_cast<int>(params.get<std::int64_t>("weight_bits"))),
        offset_weight_(params.get<double>("alpha1")),
        ridge_(params.get<double>("alpha2")),
        criterion_(params.get<std::string>("criterion")),
        compensation_(params.get<std::string>("compensation")) {}

  void check(const Graph& graph) const override { (void)example_inputs(graph, 2); }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const c10::NoGradGuard unrecorded;
    const NamedValues example = example_inputs(stage.graph, 2);
    GraphLabels labels = infer_labels(stage.graph, example);
    if (!labels.units.empty()) labels = stage.targets.chosen(stage.graph, labels);
    const Layers layers(stage.graph, labels);
    std::vector<std::size_t> removed;
    report["reconstructed"] = Json::array();
    const auto& list = layers.list();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool outer = i == 0 || i + 1 == list.size();
      if (stage.targets.takes(*list[i].node, list[i].weight))
        compress(stage.graph, layers, list[i], outer ? std::max(bits_, kOuterBits) : bits_, removed, report);
      stage.progress.report(i + 1, list.size(), "layers");
    }
    if (removed.empty()) {
      report["layers"] = Json::array();
      return stage.graph.to_onnx();
    }
    return cut_units(stage.graph, labels, removed, example, report);
  }

 private:
  Affine affine(Graph& graph, const PrunedLayer& layer) const {
    const auto value = [&](const std::string& name) { return graph.find_tensor(name)->to(at::kDouble); };
    const at::Tensor rows = value(layer.weight).flatten(1);
    at::Tensor factor = at::ones({rows.size(0)}, at::kDouble),
               offset = at::zeros({rows.size(0)}, at::kDouble);
    if (layer.node->inputs.size() > 2 && !layer.node->inputs[2].empty())
      offset = value(layer.node->inputs[2]);
    if (layer.norm) {
      const auto* epsilon = layer.norm->find("epsilon");
      const auto& names = layer.norm->inputs;
      factor =
          value(names[1]) / (value(names[4]) + (epsilon ? std::get<float>(epsilon->value) : 1e-5F)).sqrt();
      offset = value(names[2]) + factor * (offset - value(names[3]));
    }
    return {factor, rows, offset};
  }

  at::Tensor scores(Graph& graph, const PrunedLayer& layer, const Affine& exact) const {
    if (criterion_ == "bn-scale" && layer.norm)
      return graph.find_tensor(layer.norm->inputs[1])->abs().to(at::kDouble);
    return exact.factor.abs() * exact.rows.norm(criterion_ == "l1" ? 1 : 2, 1);
  }

  // Steps 2 to 6 of the card for one layer; of one whose channels nobody makes up for, step 3.
  void compress(Graph& graph, const Layers& layers, const PrunedLayer& layer, int bits,
                std::vector<std::size_t>& removed, Json& report) const {
    at::Tensor& weight = *graph.find_tensor(layer.weight);
    if (!layer.family) {
      round(weight, layer.axis, bits);
      return;
    }
    const Affine exact = affine(graph, layer);
    const auto& units = layers.units(layer);
    const auto gone = chosen(layers, layer, scores(graph, layer, exact));
    round(weight, 0, bits);
    const Affine rounded = affine(graph, layer);
    std::vector<std::int64_t> kept_channels, gone_channels;
    std::vector<std::size_t> kept_places, gone_places;  // in the family
    for (std::size_t i = 0; i < units.size(); ++i) {
      const bool leaves = gone.contains(units[i]);
      (leaves ? gone_channels : kept_channels).push_back(layers.channel(layer, units[i]));
      (leaves ? gone_places : kept_places).push_back(i);
    }
    removed.insert(removed.end(), gone.begin(), gone.end());
    const Pair pair(exact, rounded, at::tensor(kept_channels, at::kLong),
                    at::tensor(gone_channels, at::kLong), offset_weight_);
    const at::Tensor sums = coefficients(pair), own = own_scales(pair);
    if (!gone.empty())
      report["reconstructed"].push_back({{"layer", layer.weight},
                                         {"removed", gone.size()},
                                         {"of", units.size()},
                                         {"worst_share_of_error", pair.worst_share(sums)}});
    for (const auto& reader : layers.readers(layer))
      move_into(*graph.find_tensor(reader.weight), reader, kept_places, gone_places, own, sums);
  }

  void round(at::Tensor& weight, std::int64_t axis, int bits) const {
    if (bits_ == kExactBits) return;
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(weight.dim()), 1);
    sizes[static_cast<std::size_t>(axis)] = -1;
    const at::Tensor scales = weight_scales(weight, axis, bits).view(sizes);
    weight.copy_(at::round(weight / scales) * scales);
  }

  std::set<std::size_t> chosen(const Layers& layers, const PrunedLayer& layer,
                               const at::Tensor& scores) const {
    std::vector<std::size_t> order = layers.units(layer);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return scores[layers.channel(layer, a)].item<double>() <
             scores[layers.channel(layer, b)].item<double>();
    });
    const auto count = std::min(
        order.size() - 1, static_cast<std::size_t>(std::floor(ratio_ * static_cast<double>(order.size()))));
    return {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
  }

  // Channels side by side: those that stay, as they are rounded, and those that leave, as they were. An
  // offset counts as one more element.
  struct Pair {
    Pair(const Affine& exact, const Affine& rounded, const at::Tensor& kept, const at::Tensor& gone,
         double offset_weight)
        : stays(joined(rounded, kept, offset_weight)),
          was(joined(exact, kept, offset_weight)),
          leaves(joined(exact, gone, offset_weight)) {}

    static at::Tensor joined(const Affine& affine, const at::Tensor& channels, double offset_weight) {
      const at::Tensor rows = affine.rows * affine.factor.unsqueeze(1);
      return at::cat({rows, affine.offset.unsqueeze(1) * std::sqrt(offset_weight)}, 1)
          .index_select(0, channels);
    }
    // |u_j - sum s_i u_i|^2 over |u_j|^2, the greatest.
    double worst_share(const at::Tensor& sums) const {
      const at::Tensor left = (leaves - sums.matmul(stays)).square().sum(1);
      return (left / leaves.square().sum(1).clamp_min(1e-30)).max().item<double>();
    }
    at::Tensor stays, was, leaves;
  };

  // Of each channel that leaves, so much of each that stays: fp64 [leaves, stays].
  at::Tensor coefficients(const Pair& pair) const {
    const at::Tensor products = pair.leaves.matmul(pair.stays.t()), squares = pair.stays.square().sum(1);
    if (compensation_ == "none") return at::zeros_like(products);
    if (compensation_ == "merge") {
      const at::Tensor nearest = (products / squares.clamp_min(1e-30).sqrt()).argmax(1, true);
      const at::Tensor multiples = (products / squares.clamp_min(1e-30)).gather(1, nearest).clamp_min(0);
      return at::zeros_like(products).scatter(1, nearest, multiples);
    }
    const at::Tensor gram =
        pair.stays.matmul(pair.stays.t()) + ridge_ * at::eye(squares.size(0), at::kDouble);
    return at::cholesky_solve(products.t(), at::linalg_cholesky(gram)).t();
  }

  // Step 5 with the ridge around 1, so that what is not rounded is not scaled.
  at::Tensor own_scales(const Pair& pair) const {
    if (compensation_ != "reconstruct") return at::ones({pair.stays.size(0)}, at::kDouble);
    const at::Tensor product = (pair.stays * pair.was).sum(1), square = pair.stays.square().sum(1);
    return ((product + ridge_) / (square + ridge_)).clamp(kLeastOwn, kMostOwn);
  }

  // Step 6.
  static void move_into(at::Tensor& weight, const Reader& reader, const std::vector<std::size_t>& kept,
                        const std::vector<std::size_t>& gone, const at::Tensor& own, const at::Tensor& sums) {
    const auto at_places = [&](const std::vector<std::size_t>& places) {
      std::vector<std::int64_t> indices;
      for (const auto place : places)
        indices.insert(indices.end(), reader.indices[place].begin(), reader.indices[place].end());
      return at::tensor(indices, at::kLong);
    };
    const auto each = static_cast<std::int64_t>(reader.indices.front().size());
    const at::Tensor kept_at = at_places(kept), gone_at = at_places(gone);
    const at::Tensor columns = weight.to(at::kDouble).movedim(reader.axis, 0);
    const auto blocks = [&](const at::Tensor& indices) {  // [channels, the rest]
      return columns.index_select(0, indices).reshape({indices.size(0) / each, -1});
    };
    at::Tensor moved = own.unsqueeze(1) * blocks(kept_at);
    if (!gone.empty()) moved = moved + sums.t().matmul(blocks(gone_at));
    std::vector<std::int64_t> sizes = columns.sizes().vec();
    sizes[0] = kept_at.size(0);
    weight.movedim(reader.axis, 0).index_copy_(0, kept_at, moved.reshape(sizes).to(weight.scalar_type()));
  }

  double ratio_;
  int bits_;
  double offset_weight_, ridge_;
  std::string criterion_, compensation_;
};

WRING_GRAPH_METHOD("udfc", Udfc);

}  // namespace
}  // namespace wring

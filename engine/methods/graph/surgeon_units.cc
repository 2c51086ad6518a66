// One-shot structured pruning of a graph by the structured Optimal Brain Surgeon (Kurtic et al., ZipLM,
// NeurIPS 2023): those units leave that the layers which read them can best do without, and these layers are
// solved anew, so that they give on examples what they gave in the whole graph (He et al., ICCV 2017, eq. 1).
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "common/error.h"
#include "engine/methods/graph/readers.h"
#include "engine/methods/graph/units.h"
#include "engine/methods/structured/surgeon.h"
#include "engine/run/progress.h"

namespace wring {
namespace {

const GraphSlice* read_slice(const GraphUnit& unit, const PlainReader& reader) {
  for (const auto& slice : unit.slices)
    if (slice.tensor == reader.weight && slice.axis == reader.axis) return &slice;
  return nullptr;
}

// The columns that a unit is multiplied by.
std::vector<std::int64_t> columns_of(const GraphUnit& unit, const PlainReader& reader) {
  std::vector<std::int64_t> columns;
  for (const auto index : read_slice(unit, reader)->indices)
    for (std::int64_t i = 0; i < reader.each; ++i) columns.push_back(index * reader.each + i);
  return columns;
}

// What all that reads a family makes of it: a unit's columns of all readers side by side.
class Readings {
 public:
  Readings(std::int64_t units, std::int64_t width, std::int64_t rows)
      : width_(width),
        weight_(at::zeros({rows, units * width}, at::kDouble)),
        hessian_(at::zeros({units * width, units * width}, at::kDouble)) {}

  // `columns` [units, some] of the reader. Readers count alike, whatever their outputs' size.
  void add(const at::Tensor& rows, const at::Tensor& gram, const at::Tensor& columns) {
    const at::Tensor from = columns.flatten();
    const at::Tensor w = rows.index_select(1, from), h = gram.index_select(0, from).index_select(1, from);
    const double energy = (w.mm(h) * w).sum().item<double>();
    const std::int64_t units = columns.size(0), some = columns.size(1);
    const at::Tensor to =
        (at::arange(units, at::kLong).unsqueeze(1) * width_ + at::arange(some, at::kLong) + used_).flatten();
    weight_.narrow(0, row_, rows.size(0)).index_copy_(1, to, w / std::sqrt(std::max(energy, 1e-30)));
    hessian_.index_put_({to.unsqueeze(1), to}, h);
    used_ += some;
    row_ += rows.size(0);
  }

  // The numbers of the `count` units that stay.
  std::set<std::int64_t> kept(std::int64_t count, double damping) const {
    std::set<std::int64_t> stay;
    prune_columns(weight_, hessian_, width_, damping, {count}, [&](const PrunedColumns& pruned) {
      for (std::int64_t i = 0; i < pruned.kept.size(0); ++i) stay.insert(pruned.kept[i].item<std::int64_t>());
    });
    return stay;
  }

 private:
  std::int64_t width_, used_ = 0, row_ = 0;
  at::Tensor weight_, hessian_;  // [rows of all, units * width], [units * width, units * width]
};

class Surgery {
 public:
  Surgery(const GraphStage& stage, const GraphLabels& labels, const GraphExamples& examples, double damping)
      : graph_(stage.graph),
        was_(stage.graph.to_onnx()),
        labels_(labels),
        examples_(examples),
        damping_(damping),
        readers_(plain_readers(stage.graph)),
        chosen_(labels.families.size()) {
    was_.compute_on(graph_.device());
  }

  // Of each family that such layers read `share` of the units, which are then at zero. Returns them.
  std::vector<std::size_t> run(double share, std::int64_t multiple, Progress& progress, Json& report) {
    std::vector<std::size_t> removed;
    for (std::size_t i = 0; i < readers_.size(); ++i) {
      bool loses = false;
      for (std::size_t f = 0; f < labels_.families.size(); ++f) {
        if (!reads(readers_[i], f)) continue;
        if (!chosen_[f]) choose(f, share, multiple, removed);
        loses = loses || cut_.contains(f);
      }
      if (loses) report["solved"].push_back(solve_layer(graph_, was_, readers_[i], examples_, damping_));
      progress.report(i + 1, readers_.size(), "layers");
    }
    return removed;
  }

 private:
  bool reads(const PlainReader& reader, std::size_t family) const {
    return read_slice(labels_.units[labels_.families[family].units.front()], reader) != nullptr;
  }

  at::Tensor columns(const PlainReader& reader, const UnitFamily& family) const {
    std::vector<at::Tensor> lists;
    for (const auto unit : family.units)
      lists.push_back(at::tensor(columns_of(labels_.units[unit], reader), at::kLong));
    return at::stack(lists);
  }

  void choose(std::size_t f, double share, std::int64_t multiple, std::vector<std::size_t>& removed) {
    const UnitFamily& family = labels_.families[f];
    chosen_[f] = true;
    const auto count = static_cast<std::int64_t>(family.units.size());
    std::int64_t stay = count - static_cast<std::int64_t>(std::floor(share * static_cast<double>(count)));
    stay = std::min((std::max<std::int64_t>(stay, 1) + multiple - 1) / multiple * multiple, count);
    if (stay == count) return;
    const auto kept = readings(f).kept(stay, damping_);
    std::vector<std::size_t> gone;
    for (std::int64_t i = 0; i < count; ++i)
      if (!kept.contains(i)) gone.push_back(family.units[static_cast<std::size_t>(i)]);
    zero_units(graph_, labels_, gone);
    removed.insert(removed.end(), gone.begin(), gone.end());
    cut_.insert(f);
  }

  Readings readings(std::size_t f) {
    const UnitFamily& family = labels_.families[f];
    std::vector<const PlainReader*> readers;
    std::int64_t width = 0, rows = 0;
    for (const auto& reader : readers_) {
      if (!reads(reader, f)) continue;
      readers.push_back(&reader);
      width += columns(reader, family).size(1);
      rows += weight_rows(graph_, reader).size(0);
    }
    Readings all(static_cast<std::int64_t>(family.units.size()), width, rows);
    for (const auto* reader : readers) {
      const Grams grams = input_grams(graph_, was_, *reader, examples_);
      all.add(fitted_rows(weight_rows(was_, *reader), grams, damping_), grams.is, columns(*reader, family));
    }
    return all;
  }

  Graph& graph_;
  Graph was_;
  const GraphLabels& labels_;
  const GraphExamples& examples_;
  double damping_;
  std::vector<PlainReader> readers_;
  std::vector<bool> chosen_;
  std::set<std::size_t> cut_;  // families that lose units
};

class SurgeonUnits final : public GraphMethod {
 public:
  explicit SurgeonUnits(const Params& params)
      : share_(params.get<double>("target_group_sparsity")),
        multiple_(params.get<std::int64_t>("group_divisible")),
        examples_(params.get<std::int64_t>("examples")),
        damping_(params.get<double>("damping")),
        normalisation_(Normalisation::from(params)) {}

  void check(const Graph& graph) const override {
    if (plain_readers(graph).empty())
      throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_SOLVE",
                  "no Conv of one group, Gemm or MatMul multiplies by a float32 weight of its own", "model",
                  "Take magnitude-units or taylor-units, which solve nothing anew.");
  }

  OnnxModel run(const GraphStage& stage, Json& report) const override {
    const c10::NoGradGuard unrecorded;
    const GraphExamples examples = drawn_examples(stage, examples_, normalisation_);
    const NamedValues example =
        examples.inputs(at::arange(examples.at_once, at::kLong).remainder(examples.count));
    const GraphLabels labels = units_of(stage, example);
    report["examples"] = examples.count;
    report["solved"] = Json::array();
    const auto removed =
        Surgery(stage, labels, examples, damping_).run(share_, multiple_, stage.progress, report);
    return cut_units(stage.graph, labels, removed, example, report);
  }

 private:
  double share_;
  std::int64_t multiple_, examples_;
  double damping_;
  Normalisation normalisation_;
};

WRING_GRAPH_METHOD("surgeon-units", SurgeonUnits);

}  // namespace
}  // namespace wring

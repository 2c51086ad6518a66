// Runs graphs for tests/parity/graph_parity.py. wring_graph FOLDER... finds net.onnx, inputs.safetensors and
// case.json in each and writes outputs.safetensors and after.onnx, or error.json; wring_graph --operators
// prints what is supported as a table for docs/graphs.md.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <filesystem>
#include <iostream>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "common/random.h"
#include "engine/graph/graph.h"
#include "engine/graph/labels.h"
#include "engine/graph/segments.h"
#include "engine/methods/graph/graph_rounding.h"
#include "engine/model/tensor_file.h"
#include "engine/run/progress.h"

namespace {

using namespace wring;
namespace fs = std::filesystem;

NamedValues read_values(const fs::path& file) {
  const SafetensorsReader reader(FileTree::on_disk(file));
  NamedValues values;
  for (const auto& name : reader.names()) values[name] = read_tensor(reader, name);
  return values;
}

void write_values(const fs::path& folder, const std::string& stem, const NamedValues& values) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, value] : values) tensors.push_back(to_write(name, value.detach()));
  write_safetensors(folder, stem, tensors);
}

// Sum of outputs times `cotangent.NAME` of the inputs: what gradients are of.
at::Tensor loss_of(const NamedValues& outputs, const NamedValues& inputs) {
  at::Tensor loss = at::zeros({});
  for (const auto& [name, value] : outputs)
    if (const auto it = inputs.find("cotangent." + name); it != inputs.end())
      loss = loss + (value * it->second).sum();
  return loss;
}

// One step of plain gradient descent; adds what it went along to `values`.
void train_step(Graph& graph, const NamedValues& inputs, const NamedValues& outputs, double rate,
                NamedValues& values) {
  loss_of(outputs, inputs).backward();
  const c10::NoGradGuard no_grad;
  for (auto& parameter : graph.parameters()) {
    const at::Tensor gradient = parameter.value.grad();
    if (!gradient.defined()) continue;
    values["gradient." + parameter.name] = gradient;
    parameter.value.sub_(gradient, rate);
  }
  graph.track_gradients(false);
}

// Some units of each family, never all.
std::vector<std::size_t> some_units(const UnitFamily& family, double share, Random& random) {
  std::vector<std::size_t> units;
  const std::size_t kept = random.below(family.units.size());
  for (std::size_t i = 0; i < family.units.size(); ++i)
    if (i != kept && random.chance(share)) units.push_back(family.units[i]);
  return units;
}

struct CutGraph {
  OnnxModel model;
  NamedValues zeroed, cut;   // outputs
  std::uint64_t parameters;  // that are left
};

CutGraph cut_graph(const fs::path& file, const GraphLabels& labels, const std::vector<std::size_t>& units,
                   const NamedValues& inputs) {
  Graph graph(read_onnx(file));
  zero_units(graph, labels, units);
  const NamedValues zeroed = graph.run(inputs);
  OnnxModel model = erase_units(graph, labels, units);
  const Graph cut(model);
  return {std::move(model), zeroed, cut.run(inputs), cut.parameter_count()};
}

double difference(const NamedValues& a, const NamedValues& b) {
  double most = 0;
  for (const auto& [name, value] : a) {
    const double away = (value - b.at(name)).abs().max().item<double>();
    most = away <= most ? most : away;  // NaN counts
  }
  return most;
}

// The self-test of whole branches: each at zero beside each erased, then as many at once as may leave. Adds
// how many there are and the largest difference.
void erase_case(const fs::path& file, const NamedValues& inputs, Json& report) {
  const Graph graph(read_onnx(file));
  const auto segments = find_segments(graph, inputs);
  std::vector<std::vector<std::size_t>> sets;
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    sets.push_back({i});
    all.push_back(i);
    if (!can_erase(graph, segments, all)) all.pop_back();
  }
  sets.push_back(all);
  double most = 0;
  for (const auto& erased : sets) {
    Graph zeroed(read_onnx(file));
    zero_segments(zeroed, segments, erased);
    const Graph left(erase_segments(graph, segments, erased));
    const double away = difference(zeroed.run(inputs), left.run(inputs));
    most = away <= most ? most : away;
  }
  report["segments"] = segments.size();
  report["segment_difference"] = most;
}

// The self-test, units at zero beside units cut: each family by itself (`alone`), then all at once. Writes
// cut.onnx and cut.safetensors of the latter, and cut.json.
void cut_case(const fs::path& folder, const NamedValues& inputs, double share, bool alone) {
  const fs::path file = folder / "net.onnx";
  const Graph graph(read_onnx(file));
  const GraphLabels labels = infer_labels(graph, inputs);
  Random random(7);
  std::vector<std::size_t> all;
  double most = 0;
  for (const auto& family : labels.families) {
    const auto units = some_units(family, share, random);
    all.insert(all.end(), units.begin(), units.end());
    if (!alone) continue;
    const CutGraph cut = cut_graph(file, labels, units, inputs);
    const double away = difference(cut.zeroed, cut.cut);
    most = away <= most ? most : away;
  }
  const CutGraph cut = cut_graph(file, labels, all, inputs);
  NamedValues values;
  for (const auto& [name, value] : cut.zeroed) values["zeroed." + name] = value;
  for (const auto& [name, value] : cut.cut) values["cut." + name] = value;
  write_onnx(folder / "cut.onnx", cut.model, kOnnxInlineBytes, Durability::kProcess);
  write_values(folder, "cut", values);
  Json report{{"families", labels.families.size()},
              {"units", labels.units.size()},
              {"cut", all.size()},
              {"difference", most},
              {"parameters", graph.parameter_count()},
              {"left", cut.parameters}};
  erase_case(file, inputs, report);
  write_file_atomic(folder / "cut.json", report.dump(), Durability::kProcess);
}

// The graph in int8, its ranges those of the inputs: int8.onnx and int8.safetensors. Nothing where no
// operator can be. Weights of 7 bits: onnxruntime's sums of 8-bit products overflow on CPUs without VNNI.
void int8_case(const fs::path& folder, const NamedValues& inputs) {
  const Graph graph(read_onnx(folder / "net.onnx"));
  NoProgress quiet;
  Json report;
  const GraphExamples examples{1, 1, [&](const at::Tensor&) { return inputs; }};
  GraphRounding rounding;
  rounding.types.weight_bits = 7;
  OnnxModel model = rounded_graph(graph, examples, rounding, {}, quiet, report);
  if (report.at("layers").empty()) return;
  model = stored_graph(graph, examples, std::move(model), report);
  NamedValues values;
  for (const auto& [name, value] : Graph(model).run(inputs)) values["output." + name] = value;
  write_onnx(folder / "int8.onnx", model, kOnnxInlineBytes, Durability::kProcess);
  write_values(folder, "int8", values);
}

void run_case(const fs::path& folder) {
  const Json options = parse_json(read_file(folder / "case.json"), "case.json");
  Graph graph(read_onnx(folder / "net.onnx"));
  NamedValues inputs = read_values(folder / "inputs.safetensors"), values;
  const double rate = json_or(options, "learning_rate", 0.0);
  graph.track_gradients(rate > 0);
  const auto mode = json_or(options, "training", false) ? GraphMode::kTraining : GraphMode::kInference;
  const NamedValues outputs = graph.run(inputs, mode);
  for (const auto& [name, value] : outputs) values["output." + name] = value;
  if (rate > 0) train_step(graph, inputs, outputs, rate, values);
  write_values(folder, "outputs", values);
  write_onnx(folder / "after.onnx", graph.to_onnx(), json_or(options, "inline_bytes", kOnnxInlineBytes),
             Durability::kProcess);
  if (json_or(options, "int8", false)) int8_case(folder, inputs);
  const double share = json_or(options, "cut", 0.0);
  if (share > 0) cut_case(folder, inputs, share, json_or(options, "alone", false));
}

int print_operators() {
  for (const auto& kind : operator_kinds()) {
    std::cout << "| " << kind.title << " | ";
    for (const auto& row : kind.rows) std::cout << (&row == kind.rows.data() ? "" : ", ") << row.name;
    std::cout << " |\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 2 && std::string_view(argv[1]) == "--operators") return print_operators();
  for (int i = 1; i < argc; ++i) {
    const fs::path folder = argv[i];
    try {
      run_case(folder);
    } catch (const Error& error) {
      write_file_atomic(folder / "error.json", error.to_json().dump(), Durability::kProcess);
    }
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}

// Sums of what the stages take, and the limits they are compared with.
#include "engine/run/room.h"

#include <algorithm>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "engine/export/exporter.h"
#include "engine/run/hardware.h"
#include "formats/gguf_mix.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// A job is refused only where the estimate is so far above what it may have: estimates are to be up to 15 %
// high.
constexpr double kTolerance = 1.15;

// Of the heap: holes between what stays and what comes and goes, which a probe of one block does not have,
// and what earlier stages leave behind: 3 to 12 % were missing (docs/results/main-job.md).
constexpr double kHoles = 0.08;

// How long a byte takes to be written, by a file of some MB; 0 where there is no folder to write to.
double measure_disk(const fs::path& folder, Durability durability) {
  if (folder.empty()) return 0;
  const std::string bytes(8u << 20, '\0');
  const auto file = folder / "disk-probe";
  const Stopwatch watch;
  double seconds = 0;
  try {
    write_file_atomic(file, bytes, durability);
    seconds = watch.seconds();
  } catch (const Error&) {  // a full disk is not what is measured here
  }
  std::error_code ignored;
  fs::remove(file, ignored);
  return seconds / static_cast<double>(bytes.size());
}

bool is_kept_by_onnx(std::string_view form) {
  return form == "packed-int" || form == "low-rank" || form == "sum";
}

// Of formats that store weights in a type of their own; `packed`: the model's are in a form that ONNX keeps.
std::optional<double> bytes_of_a_weight(const ExportSpec& exported, bool packed) {
  const auto text = [&](const char* key) {
    return json_or<std::string>(exported.params, key, "", "exports");
  };
  const bool plain = exported.format == "huggingface" ||
                     (exported.format == "onnx" && (!packed || text("weights") == "plain"));
  if (plain) return static_cast<double>(at::elementSize(export_dtype(text("dtype"))));
  if (exported.format != "gguf") return std::nullopt;
  constexpr std::uint64_t kSome = 256;  // weights in whole blocks of each type
  return static_cast<double>(ggml_row_bytes(gguf_file_type(text("type")).type, kSome)) / kSome;
}

std::uint64_t holes(std::uint64_t heap) {
  return static_cast<std::uint64_t>(kHoles * static_cast<double>(heap));
}

// Of an estimate of the input's layers: what a share of their weights takes that earlier stages have cut out.
void take_out(double share, StageEstimate& estimate) {
  const auto stored = static_cast<std::uint64_t>(share * static_cast<double>(estimate.stored_bytes));
  estimate.seconds *= 1 - share;
  estimate.stored_bytes -= stored;
  estimate.working_bytes -= std::min(stored, estimate.working_bytes);
}

}  // namespace

Room::Room(const JobSpec& spec, const Body& body)
    : spec_(spec),
      resident_(resident_bytes()),
      anonymous_(anonymous_bytes()),
      model_bytes_(body.stored_bytes()),
      seconds_per_byte_(measure_disk(spec.work, spec.durability)) {
  if (body.is_graph()) return;
  for (const Layer* layer : std::as_const(body.model()).layers()) {
    const WeightRep& rep = layer->weight();
    const auto weights = static_cast<std::uint64_t>(rep.rows() * rep.columns());
    layers_[layer->name()] = {weights, rep.stored_bytes(), rep.stored_bytes(), weights,
                              is_kept_by_onnx(without_rounding(rep).format())};
  }
}

// As that stage stores the layer; as the input does where none was forecast.
std::uint64_t Room::bytes_in(std::optional<std::size_t> reference, const std::string& layer) const {
  const auto made = reference ? made_.find(*reference) : made_.end();
  return made == made_.end() ? layers_.at(layer).input_bytes : made->second.at(layer).bytes;
}

StageForecast Room::add_stage(const std::string& method, std::size_t index,
                              const std::vector<std::string>& targets, StageEstimate estimate,
                              std::optional<std::size_t> of_reference) {
  StageForecast forecast;
  forecast.name = method;
  forecast.layers = targets.size();
  std::uint64_t reference = 0, input_weights = 0;
  for (const auto& name : targets) {
    const Stored& layer = layers_.at(name);
    input_weights += layer.input_weights;
    forecast.weights += layer.weights;
    forecast.bytes_before += layer.bytes;
    reference += bytes_in(of_reference, name);
  }
  take_out(1 - static_cast<double>(forecast.weights) / static_cast<double>(input_weights), estimate);
  const auto kept = estimate.adds ? forecast.bytes_before : 0;
  const MethodSpec* made = Catalogue::embedded().find(method);
  const bool same_weights = made && (made->produces == "rounded-input" || made->produces == "kv-policy");
  if (same_weights) estimate.stored_bytes = forecast.bytes_before;  // it was tried on the input's
  forecast.bytes_after = estimate.stored_bytes + kept;
  for (const auto& name : targets) {  // the method's bits a weight are the same in all of them
    Stored& layer = layers_.at(name);
    if (made && !same_weights) layer.packed = is_kept_by_onnx(made->produces);
    layer.bytes =
        (estimate.adds ? layer.bytes : 0) + estimate.stored_bytes * layer.weights / forecast.weights;
    layer.weights = static_cast<std::uint64_t>(estimate.weights_kept * static_cast<double>(layer.weights));
  }
  made_[index] = layers_;
  note_resident();
  // Weights that stay are read by the calibration pass, and at the end by all, to be written.
  const auto staying = model_bytes_ - std::min(forecast.bytes_before, model_bytes_);
  const auto running = estimate.working_bytes + (estimate.streams ? staying : 0);
  const auto saving = estimate.stored_bytes + staying;
  // Files of this model and of its reference are mapped, and read as the stage goes on.
  const auto heap = anonymous_ + estimate.working_bytes;
  forecast.peak_bytes =
      resident_ + std::max(running, saving) + kept + (estimate.adds ? reference : 0) + holes(heap);
  stages_.push_back({method, heap * static_cast<std::uint64_t>(estimate.processes)});
  model_bytes_ = staying + forecast.bytes_after;
  disk_bytes_ += model_bytes_;
  forecast.seconds = estimate.seconds + seconds_per_byte_ * static_cast<double>(model_bytes_);
  return forecast;
}

StageForecast Room::add_graph_stage(const std::string& method, const Graph& graph,
                                    const GraphEstimate& estimate) {
  StageForecast forecast;
  forecast.name = method;
  forecast.layers = graph.parameters().size();
  forecast.weights = graph.parameter_count();
  forecast.bytes_before = forecast.bytes_after = model_bytes_;
  forecast.peak_bytes = estimate.resident_bytes;
  stages_.push_back({method, estimate.resident_bytes});
  disk_bytes_ += model_bytes_;
  forecast.seconds = estimate.seconds + seconds_per_byte_ * static_cast<double>(model_bytes_);
  return forecast;
}

StageForecast Room::add_statistics(const StageEstimate& estimate, std::uint64_t bytes) {
  note_resident();
  StageForecast forecast;
  forecast.name = "statistics";
  forecast.bytes_after = bytes;
  forecast.seconds = estimate.seconds + seconds_per_byte_ * static_cast<double>(bytes);
  const auto heap = anonymous_ + estimate.working_bytes;
  forecast.peak_bytes = resident_ + estimate.working_bytes + holes(heap);
  stages_.push_back({forecast.name, heap * static_cast<std::uint64_t>(estimate.processes)});
  return forecast;
}

// What the probes were the first to need of libraries' code and buffers stays.
void Room::note_resident() {
  release_free_memory();
  resident_ = std::max(resident_, resident_bytes());
  anonymous_ = std::max(anonymous_, anonymous_bytes());
}

StageForecast Room::add_export(const ExportSpec& exported) {
  StageForecast forecast;
  forecast.name = "export: " + exported.format;
  forecast.layers = layers_.size();
  forecast.bytes_before = forecast.bytes_after = model_bytes_;  // packed formats hold what the layers store
  for (const auto& [name, layer] : layers_) {
    forecast.weights += layer.weights;
    const auto bytes = bytes_of_a_weight(exported, layer.packed);
    if (!bytes) continue;
    forecast.bytes_after -= std::min(forecast.bytes_after, layer.bytes);
    forecast.bytes_after += static_cast<std::uint64_t>(*bytes * static_cast<double>(layer.weights));
  }
  if (const auto size = json_or<std::uint64_t>(exported.params, "size", 0, "exports"))
    forecast.bytes_after = std::min(forecast.bytes_after, size);
  export_bytes_ += forecast.bytes_after;
  return forecast;
}

void Room::check() const {
  const bool limited = spec_.memory_bytes > 0;
  const auto memory = limited ? spec_.memory_bytes : total_memory_bytes();
  for (const auto& stage : stages_)
    if (static_cast<double>(stage.memory_bytes) > kTolerance * static_cast<double>(memory) && memory > 0 &&
        spec_.device == "cpu")
      throw Error(ErrorCode::kResourceExhausted, "NOT_ENOUGH_MEMORY",
                  stage.method + " will take about " + human_bytes(stage.memory_bytes) + " of memory, " +
                      human_bytes(stage.memory_bytes - memory) + " more than the " + human_bytes(memory) +
                      (limited ? " that the job may have" : " that this machine has"),
                  "resources.memory_bytes",
                  "Give the job more memory, or take fewer calibration samples or a shorter sequence.");
  if (spec_.work.empty()) return;
  const auto free = fs::space(spec_.work).available;
  const auto needed = disk_bytes_ + export_bytes_;
  if (needed > free)
    throw Error(ErrorCode::kResourceExhausted, "NOT_ENOUGH_DISK",
                std::string(export_bytes_ == 0 ? "the stages"
                            : disk_bytes_ == 0 ? "the exports"
                                               : "the stages and the exports") +
                    " will write about " + human_bytes(needed) + ", " + human_bytes(needed - free) +
                    " more than is free in " + spec_.work.string(),
                "", "Free some space, or put the folder on a larger disk.");
}

}  // namespace wring

// Sums of what the stages take, and the limits they are compared with.
#include "engine/run/room.h"

#include <algorithm>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "engine/run/hardware.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// A job is refused only where the estimate is so far above what it may have: estimates have been up to 31 %
// high.
constexpr double kTolerance = 1.5;

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

}  // namespace

Room::Room(const JobSpec& spec, const Model& model)
    : spec_(spec),
      resident_(resident_bytes()),
      anonymous_(anonymous_bytes()),
      model_bytes_(model.stored_bytes()),
      seconds_per_byte_(measure_disk(spec.work, spec.durability)) {}

StageForecast Room::add_stage(const std::string& method, const std::set<const Layer*>& targets,
                              const StageEstimate& estimate) {
  StageForecast forecast;
  forecast.layers = targets.size();
  for (const Layer* layer : targets) {
    forecast.weights += static_cast<std::uint64_t>(layer->weight().rows() * layer->weight().columns());
    forecast.bytes_before += layer->weight().stored_bytes();
  }
  const auto reference = estimate.adds ? forecast.bytes_before : 0;  // mapped, and read as the stage goes on
  if (estimate.adds) forecast.bytes_before = std::min(forecast.bytes_before, model_bytes_);
  forecast.bytes_after = estimate.stored_bytes + (estimate.adds ? forecast.bytes_before : 0);
  // What the probes were the first to need of libraries' code and buffers stays.
  release_free_memory();
  resident_ = std::max(resident_, resident_bytes());
  anonymous_ = std::max(anonymous_, anonymous_bytes());
  // Weights that stay are read by the calibration pass, and at the end by all, to be written.
  const auto staying = model_bytes_ - std::min(forecast.bytes_before, model_bytes_);
  const auto beside =
      estimate.streams ? estimate.working_bytes + staying : std::max(estimate.working_bytes, staying);
  forecast.peak_bytes = resident_ + forecast.bytes_after + beside + reference;
  stages_.push_back({method, anonymous_ + estimate.working_bytes + estimate.stored_bytes});
  model_bytes_ = staying + forecast.bytes_after;
  disk_bytes_ = std::max(disk_bytes_, model_bytes_);
  forecast.seconds = estimate.seconds + seconds_per_byte_ * static_cast<double>(model_bytes_);
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
  if (disk_bytes_ > free)
    throw Error(ErrorCode::kResourceExhausted, "NOT_ENOUGH_DISK",
                "a stage will write about " + human_bytes(disk_bytes_) + ", " +
                    human_bytes(disk_bytes_ - free) + " more than is free in " + spec_.work.string(),
                "", "Free some space, or put the folder on a larger disk.");
}

}  // namespace wring

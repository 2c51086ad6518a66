// A run of the stage that is broken off by its own progress reports.
#include "engine/run/graph_forecast.h"

#include <algorithm>

#include "common/clock.h"
#include "common/error.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"

namespace wring {
namespace {

constexpr std::uint64_t kWarmUp = 2, kMostSteps = 20;  // the first steps pay for what later ones find ready
constexpr double kSeconds = 0.5;                       // of steps that are timed, but for slow ones

constexpr std::int64_t kBlank = 1024;  // examples

struct Enough {};

class FirstSteps final : public Progress {
 public:
  void report(std::uint64_t done, std::uint64_t total, const std::string& unit, const std::string&,
              double) override {
    if (unit != "steps") return;
    if (done == 0) before_steps_ = watch_.seconds();
    if (done == kWarmUp) first_timed_ = watch_.seconds();
    if (done <= kWarmUp) return;
    const double taken = watch_.seconds() - first_timed_;
    if (taken < kSeconds && done < kMostSteps) return;
    a_step_ = taken / static_cast<double>(done - kWarmUp);
    steps_ = static_cast<double>(total);
    throw Enough{};
  }

  // Of the whole stage, once Enough was thrown.
  double seconds() const { return before_steps_ + steps_ * a_step_; }

 private:
  Stopwatch watch_;
  double before_steps_ = 0, first_timed_ = 0, a_step_ = 0, steps_ = 0;
};

}  // namespace

GraphEstimate estimate_graph_stage(const GraphMethod& method, const GraphStage& stage) {
  release_free_memory();
  reset_peak_resident_bytes();
  const Stopwatch watch;
  FirstSteps first_steps;
  Snapshot none;
  Json ignored = Json::object();
  double seconds = 0;
  try {
    (void)method.run({stage.graph, stage.data, first_steps, none, stage.seed, stage.arrays, stage.targets,
                      stage.reference},
                     ignored);
    seconds = watch.seconds();
  } catch (const Enough&) {
    seconds = first_steps.seconds();
  }
  return {seconds, peak_resident_bytes()};
}

void throw_no_forecast(const std::string& data) {
  throw Error(ErrorCode::kInvalidArgument, "NO_FORECAST",
              "the network takes inputs of any size, or several, and what a stage takes hangs on theirs",
              "data." + data, "Hand them in: --data " + data + "=PATH.");
}

Batches blank_batches(const Classifier& classifier, const std::string& name,
                      const Normalisation& normalisation) {
  std::vector<std::int64_t> sizes = classifier.example_sizes();
  if (std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 0; }))
    throw_no_forecast(name);
  at::Tensor inputs;
  if (const auto image = classifier.image_size()) {
    const bool last = sizes[0] == image->first && sizes[1] == image->second;
    inputs = at::zeros({kBlank, image->first, image->second, last ? sizes[2] : sizes[0]}, at::kByte);
  } else {
    sizes.insert(sizes.begin(), kBlank);
    inputs = at::zeros(sizes);
  }
  return {{inputs, at::zeros({kBlank}, at::kLong), {}},
          normalisation,
          classifier.example_sizes(),
          "data." + name};
}

}  // namespace wring

// Stages as steps.
#include "client/cli/stage_steps.h"

namespace wring {
namespace {

StepState step_state(const std::string& state) {
  if (state == "running") return StepState::kRunning;
  if (state == "done") return StepState::kDone;
  if (state == "cached") return StepState::kCached;
  return StepState::kPending;
}

}  // namespace

StepProgress step_progress(const v1::Progress& p) {
  return {p.done(), p.total(), p.unit(), p.metric(), p.value(), p.eta_seconds()};
}

Step step_of(const v1::StageStatus& stage) {
  Step step;
  step.name = stage.name();
  step.state = step_state(stage.state());
  step.progress = step_progress(stage.progress());
  step.seconds = stage.seconds();
  step.peak_bytes = stage.peak_bytes();
  return step;
}

}  // namespace wring

// Stages as steps.
#include "client/cli/stage_steps.h"

namespace wring {
namespace {

BarState step_state(const std::string& state) {
  if (state == "running") return BarState::kRunning;
  if (state == "done") return BarState::kDone;
  if (state == "cached") return BarState::kCached;
  return BarState::kPending;
}

}  // namespace

BarProgress step_progress(const v1::Progress& p) {
  return {p.done(), p.total(), p.unit(), p.metric(), p.value(), p.eta_seconds()};
}

BarStep step_of(const v1::StageStatus& stage) {
  BarStep step;
  step.name = stage.name();
  step.state = step_state(stage.state());
  step.progress = step_progress(stage.progress());
  step.seconds = stage.seconds();
  step.peak_bytes = stage.peak_bytes();
  return step;
}

}  // namespace wring

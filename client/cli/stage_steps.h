// A job's stages as the steps of a progress bar.
#pragma once

#include "common/progress_bar.h"
#include "wring/v1/jobs.pb.h"

namespace wring {

BarProgress step_progress(const v1::Progress& progress);

// Name, state, progress, time and memory of a stage.
BarStep step_of(const v1::StageStatus& stage);

}  // namespace wring

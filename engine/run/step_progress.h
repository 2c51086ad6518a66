// How far a step is, told to the job's observer.
#pragma once

#include "engine/run/job.h"
#include "engine/run/progress.h"

namespace wring {

class StepProgress final : public Progress {
 public:
  StepProgress(JobObserver& observer, const StepPlan& plan) : observer_(observer), plan_(plan) {}
  void report(std::uint64_t done, std::uint64_t total, const std::string& unit, const std::string& metric,
              double value) override {
    observer_.check_cancelled();
    observer_.on_progress(plan_, done, total, unit, metric, value);
  }

 private:
  JobObserver& observer_;
  const StepPlan& plan_;
};

}  // namespace wring

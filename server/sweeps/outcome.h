// What a trial came to: its job's figures, and what they are worth to the sweep.
#pragma once

#include "recipe/pareto.h"
#include "recipe/sweep.h"
#include "server/store/job_store.h"

namespace wring {

// {metrics: [{suite, metric, value, unit, baseline, stderr}], sensitivity, level_times, result, bytes,
// seconds, error} of a job that has ended; sensitivity, level_times: these suites' tables, where they ran.
// The metrics: the first row of each metric of the result, or of the input where the recipe has no stages;
// the suite as named_evaluations() has it.
Json outcome_of(const StoredJob& job, JobStore& store);

// The row of the metric among the outcome's; nullptr where it was not measured as a number.
const Json* find_metric_row(const Json& outcome, const Metric& metric);

// By how much the constraints are violated: the sum of what is missing to each bound, as a share of it; none
// where a metric was not measured.
std::optional<double> violation_of(const Json& outcome, const std::vector<Constraint>& constraints);

// No losses where an objective or a constraint was not measured.
Measured measured_of(const Json& outcome, const std::vector<Objective>& objectives,
                     const std::vector<Constraint>& constraints);

}  // namespace wring

// The API's messages as JSON: what --json prints, and what reports are made of.
#pragma once

#include <string>
#include <string_view>

#include "common/error.h"
#include "common/json.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/methods.pb.h"
#include "wring/v1/projects.pb.h"
#include "wring/v1/sweeps.pb.h"
#include "wring/v1/tokens.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

// "QUEUED", "RUNNING", ...; the way back throws Error(kInvalidArgument, "UNKNOWN_STATE") and takes any letter
// case.
std::string state_name(v1::JobState state);
v1::JobState state_from_name(std::string_view name);
bool is_terminal(v1::JobState state);
std::string state_name(v1::SweepState state);
bool is_terminal(v1::SweepState state);

// {id, name, project, state, paused, artifact_digest, recipe_digest, model, data, seed, attempt, worker,
// waiting_reason, create_time, start_time, end_time, stages: [{index, name, state, seconds, peak_bytes,
// forecast_seconds, forecast_peak_bytes, key, cached_in, cached_bytes, saved_seconds, report}],
// evaluations: [...], error: {...} where it failed}. Times are RFC 3339 or null; artifact_digest is "" until
// the job has succeeded.
Json to_json(const v1::Job& job);
// {suite, metric, value, unit, n, stderr, baseline_value, change_stderr, seed, hardware, when, text, details,
// artifact, job}; stderr and baseline_value are null where there is none.
Json to_json(const v1::Evaluation& evaluation);
Json to_json(const v1::Event& event);
// {id, name, project, state, strategy, dimensions, objectives: [{metric, suite, goal}], constraints:
// [{metric, suite, min, max, of_input}], bounds: {trials, seconds, bytes}, parallel, expected_trials, trials,
// queued, running, succeeded, failed, cancelled, bytes, waiting_reason, end_reason, create_time, end_time}
Json to_json(const v1::Sweep& sweep);
// {number, job, state, values, rung, fidelity, parent, metrics: [{suite, metric, value, unit, baseline_value,
// stderr}], feasible, artifact_digest, bytes, seconds, error: {...} where it failed}; values by the sweep's
// dimensions
Json to_json(const v1::Trial& trial, const v1::Sweep& sweep);
Json to_json(const v1::Artifact& artifact);
Json to_json(const v1::Worker& worker);
// {name, paused, queued, running, bytes, quota: {queued, running, bytes}}
Json to_json(const v1::Project& project);
// {id, name, scope, project, create_time, expire_time, revoke_time}
Json to_json(const v1::Token& token);

// Why the job failed, as the error that the CLI ends with.
Error job_error(const v1::Job& job);
// The exit status that stands for it: that of its code, where this is about the job. Past its time limit a
// job is out of a resource, and workers that went silent are no server that is away.
int job_exit_status(const Error& error);

}  // namespace wring

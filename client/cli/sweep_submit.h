// Sending a sweep and following it, for the verbs that do.
#pragma once

#include <string>

#include "client/cli/context.h"
#include "client/cli/submit.h"

namespace wring {

// What any verb that makes a sweep lets a person say of its trials' jobs.
struct SweepFlags {
  std::string name, project, device = "cpu", worker_class, memory, max_runtime, request_id;
  std::uint32_t threads = 0, processes = 0, max_attempts = 0;
  std::int32_t priority = 0;
  RetentionFlags retention;
  bool wait = false, validate = false;
};
void add_sweep_flags(CLI::App& verb, SweepFlags& flags);
void add_trial_flags(CLI::App& verb, SweepFlags& flags);  // of them what a trial's job needs

// `sweep`: YAML. `recipe`: takes the place of its own, where not empty.
v1::SweepSpec sweep_spec(const SweepFlags& flags, const std::string& sweep, const std::string& recipe);

// Of a YAML file, and of the recipe that it may name.
v1::SweepSpec read_sweep(const SweepFlags& flags, const std::string& file);

// Checks it, uploads what it names, submits it; with --wait follows it. With --validate it is only checked.
v1::Sweep submit_sweep(CliContext& context, const SweepFlags& flags, const v1::SweepSpec& spec);

// One line, or JSON.
void print_sweep(CliContext& context, const v1::Sweep& sweep);

// The recipe that a trial ran, as its job has it.
Json trial_recipe(CliContext& context, const v1::Trial& trial);
// To a file that `wring run` and `wring submit` take.
void write_recipe(const Json& recipe, const std::string& file);

// Until the sweep has ended, also over restarts of the server.
v1::Sweep follow_sweep(CliContext& context, v1::Sweep sweep);

}  // namespace wring

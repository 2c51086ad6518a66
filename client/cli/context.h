// What every verb of the CLI shares: global flags, the connection, and how results and errors leave the
// process.
#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "common/progress_bar.h"

namespace wring {

struct CliContext {
  ClientFlags flags;  // empty: as client_config() finds
  bool json = false;
  bool quiet = false;
  std::vector<std::string> arguments;  // of the process, without its name
  int status = 0;                      // exit status that the verb chose

  Client& client();
  ClientConfig config() const { return client_config(flags); }
  ProgressBarOptions bar_options() const { return ProgressBarOptions::standard_error(quiet || json_only()); }
  // With --json and no terminal to look at the bar, nothing but JSON and errors is written.
  bool json_only() const;
  void print_json(const Json& json) const;    // one object on one line, to standard output
  void print(const std::string& text) const;  // to standard output
  template <std::same_as<Json> T>
  void print(const T& json) const = delete;  // it would convert to a string and throw: print_json

 private:
  std::optional<Client> client_;
};

// The verbs, a function a group; each file client/cli/<group>.cc adds its own.
void add_service_verbs(CLI::App& app, CliContext& context);  // up, down
void add_submit_verbs(CLI::App& app, CliContext& context);   // submit
void add_job_verbs(CLI::App& app, CliContext& context);      // jobs, job, watch, cancel, retry, report
void add_pause_verbs(CLI::App& app, CliContext& context);    // pause, resume, projects, quota
void add_sweep_verbs(CLI::App& app, CliContext& context);    // sweep
void add_goal_verbs(CLI::App& app, CliContext& context);     // compress, sensitivity
void add_token_verbs(CLI::App& app, CliContext& context);    // tokens
void add_artifact_verbs(CLI::App& app,
                        CliContext& context);  // get, put, artifacts, artifact, retain, discard
void add_catalogue_verbs(CLI::App& app, CliContext& context);   // methods, validate, workers
void add_evaluation_verbs(CLI::App& app, CliContext& context);  // eval, evals, compare
void add_engine_verbs(CLI::App& app, CliContext& context);      // run, plan, generate
void add_export_verbs(CLI::App& app, CliContext& context);      // export
void add_doctor_verbs(CLI::App& app, CliContext& context);      // doctor, completion
void add_verbs(CLI::App& app, CliContext& context);             // all of them

// The whole command line; returns the exit status. Never throws.
int run_cli(const std::vector<std::string>& arguments);

// Follows a job to its end with a live bar; nullopt-safe on Ctrl-C: the job goes on and kCancelled is thrown
// with the command that comes back to it.
v1::Job follow_job(CliContext& context, const v1::Job& job);

// Prints a job that has ended: its report (or one JSON object), and sets the exit status by its outcome.
void print_ended_job(CliContext& context, const v1::Job& job);

// Replaces this process by wring-engine with `arguments`. Throws Error(kNotFound, "NO_PROGRAM") where none
// lies beside this executable.
[[noreturn]] void exec_engine(const std::vector<std::string>& arguments);

// The arguments after the verb, as typed, without `drop`; --json and --quiet are put back where they stood
// before it.
std::vector<std::string> arguments_after(const CliContext& context, const std::string& verb,
                                         const std::vector<std::string>& drop);

// A verb with an example at the end of its --help; global flags may stand behind it.
CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& help,
                   const std::string& example);

// The same for a verb whose unknown flags are handed on to wring-engine, which judges them.
CLI::App* add_engine_verb(CLI::App& app, CliContext& context, const std::string& name,
                          const std::string& help, const std::string& example);

}  // namespace wring

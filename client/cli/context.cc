// The frame of the CLI: flags, verbs, errors and exit statuses.
#include "client/cli/context.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "client/cli/programs.h"
#include "common/command_line.h"
#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

constexpr const char* kColor = "\x1b[1;31m";

// An error for people on standard error, and with --json as {"error": {...}} on standard output.
int show_error(const CliContext& context, const Error& error) {
  std::fflush(stdout);
  std::string text = describe(error);
  if (stderr_is_terminal() && !std::getenv("NO_COLOR") && text.starts_with("error:"))
    text = kColor + std::string("error:") + "\x1b[0m" + text.substr(6);
  std::fputs(text.c_str(), stderr);
  if (context.json) context.print_json(Json{{"error", error.to_json()}});
  return exit_status(error.code());
}

void add_output_flags(CLI::App& app, CliContext& context) {
  app.add_flag("--json", context.json, "Print one JSON object instead of text");
  app.add_flag("-q,--quiet", context.quiet, "No progress bars");
}

void add_global_flags(CLI::App& app, CliContext& context) {
  app.add_option("--server", context.flags.server, "Server, HOST:PORT (also WRING_SERVER or client.yaml)");
  app.add_option("--token", context.flags.token, "Access token (also WRING_TOKEN or client.yaml)");
  app.add_option("--ca", context.flags.ca,
                 "PEM file of the server's CA, for TLS (also WRING_CA or client.yaml)");
  add_output_flags(app, context);
  app.set_version_flag("--version", "wring " WRING_VERSION);
}

// A message of the API holds UTF-8 alone.
void check_arguments(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i)
    if (const auto at = unclean_text_at(arguments[i]); at != std::string_view::npos)
      throw Error(ErrorCode::kInvalidArgument, "USAGE",
                  "argument " + std::to_string(i + 1) + " has a byte that is no UTF-8 text, behind '" +
                      shortened(arguments[i].substr(0, at), 80) + "'");
}

}  // namespace

Client& CliContext::client() {
  if (!client_) client_.emplace(config());
  return *client_;
}

bool CliContext::json_only() const {
  return json && !stderr_is_terminal();
}

void CliContext::print_json(const Json& value) const {
  print(value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void CliContext::print(const std::string& text) const {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& help,
                   const std::string& example) {
  auto* verb = app.add_subcommand(name, help);
  verb->footer("Example:\n  " + example + "\n");
  verb->fallthrough();
  return verb;
}

CLI::App* add_engine_verb(CLI::App& app, CliContext& context, const std::string& name,
                          const std::string& help, const std::string& example) {
  auto* verb = add_verb(app, name, help, example);
  verb->fallthrough(
      false);  // else an unknown flag would be an error of the program's, not an extra of the verb's
  verb->allow_extras();
  add_output_flags(*verb, context);
  return verb;
}

std::vector<std::string> arguments_after(const CliContext& context, const std::string& verb,
                                         const std::vector<std::string>& drop) {
  const auto& all = context.arguments;
  const auto at = std::find(all.begin(), all.end(), verb);
  std::vector<std::string> rest;
  const auto is_global = [](const std::string& a) { return a == "--json" || a == "--quiet" || a == "-q"; };
  for (auto it = at == all.end() ? at : at + 1; it != all.end(); ++it)
    if (std::find(drop.begin(), drop.end(), *it) == drop.end()) rest.push_back(*it);
  for (auto it = all.begin(); it != at; ++it)
    if (is_global(*it)) rest.push_back(*it);
  return rest;
}

void exec_engine(const std::vector<std::string>& arguments) {
  const auto engine = program("wring-engine");
  std::vector<std::string> all{engine.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(stdout);
  ::execv(engine.c_str(), argv.data());
  throw_io_error("start", engine, errno);
}

void add_verbs(CLI::App& app, CliContext& context) {
  add_service_verbs(app, context);
  add_submit_verbs(app, context);
  add_job_verbs(app, context);
  add_pause_verbs(app, context);
  add_sweep_verbs(app, context);
  add_goal_verbs(app, context);
  add_token_verbs(app, context);
  add_artifact_verbs(app, context);
  add_catalogue_verbs(app, context);
  add_evaluation_verbs(app, context);
  add_engine_verbs(app, context);
  add_export_verbs(app, context);
  add_doctor_verbs(app, context);
}

int run_cli(const std::vector<std::string>& arguments) {
  CliContext context;
  context.arguments = arguments;
  CLI::App app("Compress models with recipes, on this machine or through a service.", "wring");
  app.footer(
      "Example:\n  wring up --detach && wring submit 'gptq(bits=4)' --model DIR --data calibration=FILE "
      "--wait\n"
      "Exit status: 0 done, 2 the request is wrong, 3 not found, 4 out of a resource (memory, disk, a job's "
      "time),\n5 the server is away, 6 cancelled, 1 anything else.\n");
  app.require_subcommand(1);
  add_global_flags(app, context);
  add_verbs(app, context);
  try {
    check_arguments(arguments);
    parse_command_line(app, arguments);
    return context.status;
  } catch (...) {
    const Error error = current_error();
    if (error.reason() == "USAGE")  // it came before the flags were taken
      context.json |= std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    return show_error(context, error);
  }
}

}  // namespace wring

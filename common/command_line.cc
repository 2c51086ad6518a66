// CLI11's errors in our words.
#include "common/command_line.h"

#include <algorithm>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

Error usage_error(const CLI::App& app, const CLI::ParseError& refused) {
  const std::string& program = app.get_name();
  const auto given = app.get_subcommands();
  const auto known = app.get_subcommands({});
  const auto words = app.remaining();
  std::string message = refused.what(),
              hint = program + (known.empty() ? " --help shows its flags." : " --help lists all verbs.");
  if (!given.empty()) {
    hint = program + " " + given[0]->get_name() + " --help shows its flags and an example.";
  } else if (!known.empty() && !words.empty() && !words[0].starts_with("-")) {
    std::vector<std::string> names;
    for (const auto* verb : known) names.push_back(verb->get_name());
    message = "there is no verb '" + words[0] + "'";
    if (const auto near = nearest_name(words[0], names); !near.empty())
      hint = "Did you mean '" + program + " " + near + "'?";
  }
  return Error(ErrorCode::kInvalidArgument, "USAGE", message, "", hint);
}

}  // namespace

bool parse_command_line(CLI::App& app, const std::vector<std::string>& arguments) {
  try {
    auto reversed = arguments;
    std::reverse(reversed.begin(), reversed.end());
    app.parse(reversed);
    return true;
  } catch (const CLI::ParseError& refused) {
    if (refused.get_exit_code() != 0) throw usage_error(app, refused);
    app.exit(refused);  // prints
    return false;
  }
}

}  // namespace wring

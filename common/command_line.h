// Command lines of all programs: parsed, or refused in the same words and with the same exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace wring {

// Parses `arguments` (without the program's name) into `app`; callbacks of subcommands run, and what they
// throw passes. Returns false where --help or --version was asked for, and is printed: the program ends with
// status 0. Throws Error(kInvalidArgument, "USAGE") for what `app` refuses, with the way to the help as hint.
bool parse_command_line(CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace wring

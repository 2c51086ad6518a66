// Completion scripts, made from the verbs and flags as the CLI declares them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace wring {

// `shell`: bash, zsh or fish.
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace wring

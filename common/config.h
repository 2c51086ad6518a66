// A program's YAML file: the same options as its flags, by the same names.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>

namespace wring {

// Gives each option of `app` that was not on the command line the value that the file has under its long
// name. Throws Error(kInvalidArgument) with reason UNKNOWN_KEY, WRONG_TYPE or MALFORMED_CONFIG; the field is
// the key.
void apply_config(CLI::App& app, const std::filesystem::path& file);

}  // namespace wring

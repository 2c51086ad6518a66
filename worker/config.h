// A worker's YAML file: the same options as its flags, by the same names.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>

#include "worker/options.h"

namespace wring {

// Gives each option of `app` that was not on the command line the value that the file has under its long
// name. Throws Error(kInvalidArgument) with reason UNKNOWN_KEY, WRONG_TYPE or MALFORMED_CONFIG; the field is
// the key.
void apply_config(CLI::App& app, const std::filesystem::path& file);

// Throws Error(kInvalidArgument, "MISSING_OPTION") where one that has no default was not given.
void check_options(const WorkerOptions& options);

}  // namespace wring

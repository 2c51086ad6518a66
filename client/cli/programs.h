// The other programs of the project, which lie beside this one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/subprocess.h"

namespace wring {

// The program `name` beside this executable. Throws Error(kNotFound, "NO_PROGRAM") where there is none.
std::filesystem::path program(const std::string& name);

struct Captured {
  ExitStatus status;
  std::string output;  // what it wrote to standard output (and standard error, where that was asked for)
};

// Runs a program to its end. Ctrl-C on the terminal reaches it as well.
Captured capture(const std::vector<std::string>& argv, bool with_standard_error = false);

// The same of wring-engine, whose errors are its own to print; Ctrl-C it answers by itself. Throws
// Error(kInternal, "ENGINE_KILLED") where a signal ended it, kCancelled after Ctrl-C.
Captured capture_engine(std::vector<std::string> arguments);

}  // namespace wring

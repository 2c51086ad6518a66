// What must hold of a data folder after a crash, whatever was under way.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/crash/scenario.h"

namespace wring::crash {

// Sentences, one a violation, about the folders below `root`, in which no process is. Repairs what a start
// does.
std::vector<std::string> verify(const std::filesystem::path& root, const Promises& promises);

}  // namespace wring::crash

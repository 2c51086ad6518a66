// How much is kept of the stages' outputs that projects share, as the server and its verb gc are told it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

#include "common/quantity.h"
#include "server/upkeep/collect.h"

namespace wring {

struct StageCacheFlags {
  double days = 30;
  std::uint64_t bytes = 100'000'000'000;

  void add_to(CLI::App& app) {
    app.add_option("--stage-cache-days", days,
                   "Outputs of stages that a project's workers share are forgotten when unused for so long")
        ->check(CLI::Range(0.0, 1e5))
        ->capture_default_str();
    app.add_option("--stage-cache-bytes", bytes,
                   "Limit of all such outputs; collection forgets those unused for longest")
        ->transform(bytes_value())
        ->default_str("100GB");
  }
  StageCacheLimits limits() const { return {static_cast<TimeMs>(days * 86'400'000), bytes}; }
};

}  // namespace wring

// What ends a sweep before its strategy does: so many trials, seconds, bytes of results.
#pragma once

#include <cstdint>
#include <string>

#include "common/clock.h"
#include "server/store/sweep_rows.h"

namespace wring {

// "bounds.trials is reached" of a sweep with so many trials, whose results have so many bytes; empty where
// none is.
std::string bound_reached(const SweepRecord& record, std::uint64_t made, std::uint64_t bytes, TimeMs now);

// The same of a sweep of which so many trials have ended; `most` 0: none.
std::string failures_reached(std::uint64_t most, std::uint64_t succeeded, std::uint64_t ended);

// Adds to the bounds. More time is from now on where the bound has passed. Throws kInvalidArgument
// ("NO_SUCH_BOUND") where the sweep has none of a kind, ("OUT_OF_RANGE") beyond what a bound may be.
void extend_bounds(SweepRecord& record, const v1::SweepBounds& more, TimeMs now);

}  // namespace wring

// A sweep's bounds: when one is reached, and how they are raised.
#include "server/sweeps/bounds.h"

#include <algorithm>

#include "common/error.h"
#include "common/text.h"
#include "recipe/sweep.h"

namespace wring {
namespace {

constexpr double kMostSeconds = 1e9;
constexpr std::uint64_t kMostBytes = 1ull << 60;

double seconds_since_submit(const SweepRecord& record, TimeMs now) {
  return static_cast<double>(now - record.create_time) / 1000;
}

template <typename Amount>
void extend(const char* name, Amount& bound, Amount more, Amount most, Amount least) {
  if (more == 0) return;
  const std::string field = std::string("more.") + name;
  if (bound == 0)
    throw Error(ErrorCode::kInvalidArgument, "NO_SUCH_BOUND",
                std::string("the sweep has no bound of ") + name + " that could be raised", field,
                "Leave it out: nothing of that kind ends the sweep.");
  bound = std::max(bound, least);
  if (more > most || bound + more > most)
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE",
                "it would be more than " + format_number(static_cast<double>(most), 0) + " in all", field);
  bound += more;
}

}  // namespace

std::string bound_reached(const SweepRecord& record, std::uint64_t made, std::uint64_t bytes, TimeMs now) {
  if (record.trials > 0 && made >= record.trials) return "bounds.trials is reached";
  if (record.bytes > 0 && bytes >= record.bytes) return "bounds.bytes is reached";
  return record.seconds > 0 && seconds_since_submit(record, now) >= record.seconds
             ? "bounds.seconds is reached"
             : "";
}

std::string failures_reached(std::uint64_t most, std::uint64_t succeeded, std::uint64_t ended) {
  return most > 0 && succeeded == 0 && ended >= most ? "bounds.failures is reached: no trial has succeeded"
                                                     : "";
}

void extend_bounds(SweepRecord& record, const v1::SweepBounds& more, TimeMs now) {
  if (!(more.seconds() >= 0))
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "a bound is 0 to 1e9 seconds", "more.seconds");
  extend<std::uint64_t>("trials", record.trials, more.trials(), kMostTrials, 0);
  extend<std::uint64_t>("bytes", record.bytes, more.bytes(), kMostBytes, 0);
  extend("seconds", record.seconds, more.seconds(), kMostSeconds,
         std::min(seconds_since_submit(record, now), kMostSeconds));
  if (more.trials() > 0) record.extents.push_back(more.trials());
}

}  // namespace wring

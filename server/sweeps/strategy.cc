// The strategies by their names.
#include "server/sweeps/strategy.h"

#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "server/sweeps/designs.h"
#include "server/sweeps/goal_search.h"
#include "server/sweeps/halving.h"
#include "server/sweeps/nsga2.h"
#include "server/sweeps/tpe.h"

namespace wring {

std::unique_ptr<Strategy> make_strategy(const Sweep& sweep, const std::vector<std::uint64_t>& extents) {
  const auto& name = sweep.strategy.name;
  if (name == "grid") return std::make_unique<Grid>(sweep);
  if (name == "random") return std::make_unique<RandomSearch>(sweep);
  if (name == "latin-hypercube") return std::make_unique<LatinHypercube>(sweep, extents);
  if (name == "successive-halving") return std::make_unique<SuccessiveHalving>(sweep);
  if (name == "asha") return std::make_unique<Asha>(sweep);
  if (name == "tpe") return std::make_unique<Tpe>(sweep);
  if (name == "goal") return std::make_unique<GoalSearch>(sweep);
  if (name == "nsga2") return std::make_unique<Nsga2>(sweep);
  throw Error(ErrorCode::kInternal, "UNKNOWN_STRATEGY", "no strategy " + name);
}

std::uint64_t expected_trials(const Sweep& sweep, const std::vector<std::uint64_t>& extents) {
  const auto asked = std::accumulate(extents.begin(), extents.end(), std::uint64_t{0});
  const auto& name = sweep.strategy.name;
  std::uint64_t most = 0;  // 0: not known
  if (name == "successive-halving")
    most = halving_trials(sweep.strategy);
  else if (name == "goal")
    most = most_goal_trials(sweep);
  else if (const auto size = sweep.space.size(); size && name != "latin-hypercube" && name != "asha")
    most = *size;
  if (asked == 0 || most == 0) return std::max(asked, most);
  return std::min(asked, most);
}

}  // namespace wring

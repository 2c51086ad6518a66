// The kParts parts that a calibration set is cut into: gathered apart, and added up in a fixed tree.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/calibrate/statistics.h"
#include "engine/run/team.h"
#include "recipe/processes.h"

namespace wring {

using StatisticsByTap = std::map<std::string, std::unique_ptr<Statistics>>;

// Adds up parts as they come, in pairs, these in pairs and so on: whoever adds which, the sums have the same
// bits. At most one sum of 1, 2 and 4 parts each waits for its other half.
class PartTree {
 public:
  // The next part, whose gathering is over.
  void add(StatisticsByTap part);

  // The sums over the parts of all processes, in each of them; each has added all of its own.
  StatisticsByTap finish(Team& team, const std::set<Statistic>& wanted, at::Device device);

 private:
  std::vector<std::pair<int, StatisticsByTap>> waiting_;  // with how often they were added up
};

}  // namespace wring

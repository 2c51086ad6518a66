// The kParts parts that a calibration set is cut into: gathered apart, and added up in a fixed tree.
#pragma once

#include <cstdint>
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
// bits. At most one sum of 1, 2 and 4 parts each waits for its other half, on the CPU and with its Hessians
// as triangles.
class PartTree {
 public:
  // The next part, whose gathering is over.
  void add(StatisticsByTap part);

  // The sums over the parts of all processes, in each of them; each has added all of its own.
  StatisticsByTap finish(Team& team, const std::set<Statistic>& wanted, at::Device device);

 private:
  using Sums = std::map<std::string, at::Tensor>;  // as Statistics::tensors() names them
  using SumsByTap = std::map<std::string, Sums>;

  static void add_to(SumsByTap& sums, SumsByTap later);
  static void add_to(Sums& sums, const Sums& later);
  static Parcel to_parcel(const SumsByTap& sums);
  static SumsByTap from_parcel(const Parcel& parcel);

  std::vector<std::pair<int, SumsByTap>> waiting_;  // with how often they were added up
};

// What a tap's sums take while they wait, or are stored.
std::uint64_t bytes_of_sums(std::uint64_t features, const std::set<Statistic>& wanted);

}  // namespace wring

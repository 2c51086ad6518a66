// The tree of sums, within a process and across a team.
#include "engine/calibrate/parts.h"

namespace wring {
namespace {

void add_to(StatisticsByTap& sums, StatisticsByTap later) {
  for (auto& [tap, statistics] : later) {
    auto& sum = sums[tap];
    if (sum)
      sum->add(*statistics);
    else
      sum = std::move(statistics);
  }
}

// Tensors named "TAP:SUM".
Parcel to_parcel(const StatisticsByTap& sums) {
  Parcel parcel;
  for (const auto& [tap, statistics] : sums)
    for (auto& sum : statistics->tensors()) parcel.tensors.push_back({tap + ":" + sum.suffix, sum.tensor});
  return parcel;
}

StatisticsByTap from_parcel(const Parcel& parcel, const std::set<Statistic>& wanted, at::Device device) {
  std::map<std::string, std::map<std::string, at::Tensor>> taps;
  for (const auto& [name, tensor] : parcel.tensors) {
    const auto colon = name.rfind(':');
    taps[name.substr(0, colon)][name.substr(colon + 1)] = tensor;
  }
  StatisticsByTap sums;
  for (const auto& [tap, tensors] : taps) sums[tap] = Statistics::restore(tensors, wanted, device);
  return sums;
}

}  // namespace

void PartTree::add(StatisticsByTap part) {
  for (auto& [tap, statistics] : part) statistics->pack();
  int level = 0;
  for (; !waiting_.empty() && waiting_.back().first == level; ++level) {
    StatisticsByTap earlier = std::move(waiting_.back().second);
    waiting_.pop_back();
    add_to(earlier, std::move(part));
    part = std::move(earlier);
  }
  waiting_.emplace_back(level, std::move(part));
}

StatisticsByTap PartTree::finish(Team& team, const std::set<Statistic>& wanted, at::Device device) {
  StatisticsByTap sums;
  for (auto& [level, waiting] : waiting_)
    add_to(sums, std::move(waiting));  // one: their number is a power of two
  waiting_.clear();
  for (int step = 1; step < team.size(); step *= 2) {
    if (team.rank() % (2 * step) != 0) {
      team.send(team.rank() - step, to_parcel(sums));
      break;
    }
    add_to(sums, from_parcel(team.receive(team.rank() + step), wanted, device));
  }
  if (team.alone()) return sums;
  const Parcel all = team.share(0, team.first() ? to_parcel(sums) : Parcel());
  return team.first() ? std::move(sums) : from_parcel(all, wanted, device);
}

}  // namespace wring

// The tree of sums, within a process and across a team.
#include "engine/calibrate/parts.h"

namespace wring {

// The later rows come after the others: about their origin, x - o = (x - o') + (o' - o).
void PartTree::add_to(Sums& sums, const Sums& later) {
  const auto rows = later.at("size")[0].item<std::int64_t>();
  if (rows == 0) return;
  if (sums.at("size")[0].item<std::int64_t>() == 0) {
    sums = later;
    return;
  }
  sums.at("size")[0].add_(rows);
  for (const char* name : {"squares", "magnitudes", "values", "gram"})
    if (later.contains(name)) sums.at(name).add_(later.at(name));
  if (!later.contains("origin")) return;
  const at::Tensor moved = later.at("origin") - sums.at("origin"), &sum = later.at("moved_sum");
  sums.at("moved_squares").add_(later.at("moved_squares") + 2 * moved * sum + rows * moved.square());
  sums.at("moved_sum").add_(sum + rows * moved);
}

void PartTree::add_to(SumsByTap& sums, SumsByTap later) {
  for (auto& [tap, own] : later) {
    const auto [it, is_new] = sums.try_emplace(tap, std::move(own));
    if (!is_new) add_to(it->second, own);
  }
}

// Tensors named "TAP:SUM".
Parcel PartTree::to_parcel(const SumsByTap& sums) {
  Parcel parcel;
  for (const auto& [tap, own] : sums)
    for (const auto& [name, tensor] : own) parcel.tensors.push_back({tap + ":" + name, tensor});
  return parcel;
}

PartTree::SumsByTap PartTree::from_parcel(const Parcel& parcel) {
  SumsByTap sums;
  for (const auto& [name, tensor] : parcel.tensors) {
    const auto colon = name.rfind(':');
    sums[name.substr(0, colon)][name.substr(colon + 1)] = tensor;
  }
  return sums;
}

void PartTree::add(StatisticsByTap part) {
  SumsByTap sums;
  for (auto& [tap, statistics] : part) {
    for (auto& sum : statistics->tensors()) sums[tap][sum.suffix] = sum.tensor.cpu();
    statistics.reset();
  }
  int level = 0;
  for (; !waiting_.empty() && waiting_.back().first == level; ++level) {
    SumsByTap earlier = std::move(waiting_.back().second);
    waiting_.pop_back();
    add_to(earlier, std::move(sums));
    sums = std::move(earlier);
  }
  waiting_.emplace_back(level, std::move(sums));
}

StatisticsByTap PartTree::finish(Team& team, const std::set<Statistic>& wanted, at::Device device) {
  SumsByTap sums;
  for (auto& [level, waiting] : waiting_)
    add_to(sums, std::move(waiting));  // one: their number is a power of two
  waiting_.clear();
  for (int step = 1; step < team.size(); step *= 2) {
    if (team.rank() % (2 * step) != 0) {
      team.send(team.rank() - step, to_parcel(sums));
      break;
    }
    add_to(sums, from_parcel(team.receive(team.rank() + step)));
  }
  if (!team.alone()) sums = from_parcel(team.share(0, team.first() ? to_parcel(sums) : Parcel()));
  StatisticsByTap all;
  while (!sums.empty()) {
    all[sums.begin()->first] = Statistics::restore(sums.begin()->second, wanted, device);
    sums.erase(sums.begin());
  }
  return all;
}

std::uint64_t bytes_of_sums(std::uint64_t features, const std::set<Statistic>& wanted) {
  std::uint64_t bytes = 0;
  for (const Statistic statistic : wanted)
    bytes += statistic == Statistic::kHessian       ? features * (features + 1) / 2 * sizeof(float)
             : statistic == Statistic::kMoments     ? 3 * features * sizeof(double)
             : statistic == Statistic::kInputValues ? (1 << 16) * sizeof(double)
                                                    : features * sizeof(double);
  return bytes;
}

}  // namespace wring

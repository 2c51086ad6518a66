// Deb, Pratap, Agarwal, Meyarivan: "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002).
#include "recipe/pareto.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace wring {
namespace {

// Whoever dominates stands before whom it dominates.
std::vector<std::size_t> lexicographic(std::span<const Measured> trials) {
  std::vector<std::size_t> order(trials.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
    const Measured &a = trials[i], &b = trials[j];
    if (a.losses.empty() != b.losses.empty()) return b.losses.empty();
    if (a.violation != b.violation) return a.violation < b.violation;
    return a.losses < b.losses;
  });
  return order;
}

}  // namespace

bool dominates(const Measured& a, const Measured& b) {
  if (a.losses.empty() || b.losses.empty()) return !a.losses.empty() && b.losses.empty();
  if (a.violation > 0 || b.violation > 0) return a.violation < b.violation;
  bool lower = false;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    if (a.losses[i] > b.losses[i]) return false;
    lower |= a.losses[i] < b.losses[i];
  }
  return lower;
}

std::vector<std::size_t> pareto_front(std::span<const Measured> trials) {
  std::vector<std::size_t> front;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    if (trials[i].losses.empty() || trials[i].violation > 0) continue;
    const auto beaten = [&](std::size_t j) { return dominates(trials[j], trials[i]); };
    if (std::any_of(front.begin(), front.end(), beaten)) continue;
    std::erase_if(front, [&](std::size_t j) { return dominates(trials[i], trials[j]); });
    front.push_back(i);
  }
  return front;
}

// Each goes into the first front in which nobody dominates it: whoever does stands before it in this order
// (Zhang, Tian, Cheng, Jin: "An efficient approach to nondominated sorting", 2015).
std::vector<std::vector<std::size_t>> non_dominated_sort(std::span<const Measured> trials) {
  std::vector<std::vector<std::size_t>> fronts;
  for (const auto i : lexicographic(trials)) {
    const auto takes = [&](const std::vector<std::size_t>& front) {
      return std::none_of(front.rbegin(), front.rend(),
                          [&](auto j) { return dominates(trials[j], trials[i]); });
    };
    const auto front = std::find_if(fronts.begin(), fronts.end(), takes);
    if (front == fronts.end())
      fronts.push_back({i});
    else
      front->push_back(i);
  }
  for (auto& front : fronts) std::sort(front.begin(), front.end());
  return fronts;
}

std::vector<double> crowding_distances(std::span<const Measured> trials, std::span<const std::size_t> front) {
  std::vector<double> distances(front.size(), 0);
  const std::size_t losses = front.empty() ? 0 : trials[front[0]].losses.size();
  std::vector<std::size_t> order(front.size());
  for (std::size_t m = 0; m < losses; ++m) {
    const auto loss = [&](std::size_t position) { return trials[front[position]].losses[m]; };
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return loss(a) < loss(b); });
    const double extent = loss(order.back()) - loss(order.front());
    distances[order.front()] = distances[order.back()] = std::numeric_limits<double>::infinity();
    if (!(extent > 0)) continue;
    for (std::size_t i = 1; i + 1 < order.size(); ++i)
      distances[order[i]] += (loss(order[i + 1]) - loss(order[i - 1])) / extent;
  }
  return distances;
}

std::vector<std::size_t> ranked(std::span<const Measured> trials) {
  const bool single =
      std::all_of(trials.begin(), trials.end(), [](const auto& t) { return t.losses.size() < 2; });
  if (single) return lexicographic(trials);  // its fronts would hold little more than one each
  std::vector<std::size_t> all;
  for (const auto& front : non_dominated_sort(trials)) {
    const auto distances = crowding_distances(trials, front);
    std::vector<std::size_t> order(front.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return distances[a] > distances[b]; });
    for (const auto i : order) all.push_back(front[i]);
  }
  return all;
}

double hypervolume(std::vector<std::vector<double>> losses, const std::vector<double>& reference) {
  std::sort(losses.begin(), losses.end());
  double volume = 0, floor = reference[1];
  for (const auto& point : losses) {
    if (point[0] >= reference[0] || point[1] >= floor) continue;
    volume += (reference[0] - point[0]) * (floor - point[1]);
    floor = point[1];
  }
  return volume;
}

}  // namespace wring

// Gathering statistics while a block runs.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/calibrate/parts.h"
#include "engine/model/layer.h"

namespace wring {

// Gathers the statistics of each tap once, whichever of its layers comes first.
class TapObserver final : public InputObserver {
 public:
  TapObserver(const std::set<const Layer*>& targets, std::set<Statistic> wanted)
      : targets_(targets), wanted_(std::move(wanted)) {}

  // Gathers also what `of` makes of the inputs of `layer`, a target, as a tap of this name: rows [n, in] to
  // rows [n, ...].
  void derive(const Layer& layer, std::string tap, std::function<at::Tensor(const at::Tensor&)> of) {
    derived_.push_back({&layer, std::move(tap), std::move(of)});
  }

  // Rows of padding are left out: `keep` int64 indices of real rows in the coming batch, or undefined.
  void set_rows(at::Tensor keep) { keep_ = std::move(keep); }

  void on_input(const Layer& layer, const at::Tensor& x) override {
    if (!targets_.contains(&layer)) return;
    for (const auto& derived : derived_)
      if (derived.layer == &layer) add(derived.tap, derived.of(x));
    if (owners_.try_emplace(layer.input_tap(), &layer).first->second == &layer) add(layer.input_tap(), x);
  }

  // What came since the last part's end was the next part.
  void end_part() { parts_.add(std::exchange(statistics_, {})); }
  // All parts have come: from here on the statistics are those of all rows of all processes.
  void finish(Team& team, at::Device device) { statistics_ = parts_.finish(team, wanted_, device); }

  // As if they had been gathered here.
  void take(StatisticsByTap statistics) { statistics_ = std::move(statistics); }

  const StatisticsByTap& by_tap() const { return statistics_; }

  const Statistics* of(const Layer& layer) const {
    const auto it = statistics_.find(layer.input_tap());
    return it == statistics_.end() ? nullptr : it->second.get();
  }

 private:
  struct Derived {
    const Layer* layer;
    std::string tap;
    std::function<at::Tensor(const at::Tensor&)> of;
  };

  void add(const std::string& tap, const at::Tensor& x) {
    auto& statistics = statistics_[tap];
    if (!statistics) statistics = std::make_unique<Statistics>(x.size(1), wanted_, x.device());
    statistics->add(keep_.defined() ? x.index_select(0, keep_) : x);
  }

  const std::set<const Layer*>& targets_;
  std::set<Statistic> wanted_;
  at::Tensor keep_;
  std::map<std::string, const Layer*> owners_;
  std::vector<Derived> derived_;
  StatisticsByTap statistics_;
  PartTree parts_;
};

}  // namespace wring

// Gathering statistics while a block runs.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "engine/calibrate/parts.h"
#include "engine/model/layer.h"

namespace wring {

// Gathers the statistics of each tap once, whichever of its layers comes first.
class TapObserver final : public InputObserver {
 public:
  TapObserver(const std::set<const Layer*>& targets, std::set<Statistic> wanted)
      : targets_(targets), wanted_(std::move(wanted)) {}

  // Rows of padding are left out: `keep` int64 indices of real rows in the coming batch, or undefined.
  void set_rows(at::Tensor keep) { keep_ = std::move(keep); }

  void on_input(const Layer& layer, const at::Tensor& x) override {
    if (!targets_.contains(&layer)) return;
    if (owners_.try_emplace(layer.input_tap(), &layer).first->second != &layer) return;
    auto& statistics = statistics_[layer.input_tap()];
    if (!statistics) statistics = std::make_unique<Statistics>(x.size(1), wanted_, x.device());
    statistics->add(keep_.defined() ? x.index_select(0, keep_) : x);
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
  const std::set<const Layer*>& targets_;
  std::set<Statistic> wanted_;
  at::Tensor keep_;
  std::map<std::string, const Layer*> owners_;
  StatisticsByTap statistics_;
  PartTree parts_;
};

}  // namespace wring

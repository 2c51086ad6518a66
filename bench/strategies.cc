// A sweep's strategy by lines of JSON, for bench/strategies.py: it says what to try, and is told what that
// came to.
//
//   wring_strategy_bench tpe SEED '[{"low": 1e-4, "high": 1, "log": true}, {"values": ["a", "b"], "ordered":
//   false}]'
//                        [--population N] [--parallel N]
//   -> ["values", ...] of the next trial, or null where it waits for those that are open
//   <- [loss, ...] of the oldest open trial
#include <CLI/CLI.hpp>
#include <iostream>

#include "common/json.h"
#include "server/sweeps/strategy.h"

namespace {

using namespace wring;

Dimension dimension(const Json& json) {
  Dimension d;
  d.values = json_or<std::vector<Json>>(json, "values", {});
  d.ordered = json_or<bool>(json, "ordered", true);
  d.low = json_or<double>(json, "low", 0);
  d.high = json_or<double>(json, "high", 1);
  d.log = json_or<bool>(json, "log", false);
  d.whole = json_or<bool>(json, "whole", false);
  return d;
}

void play(const Sweep& sweep) {
  const auto strategy = make_strategy(sweep, {});
  std::vector<TrialView> trials;
  std::size_t ended = 0;
  for (std::string line;;) {
    const bool full = trials.size() - ended >= sweep.parallel;
    const Next next = full ? Next{Advice::kWait, {}, ""} : strategy->next(trials);
    if (next.advice == Advice::kDone) return;
    if (next.advice == Advice::kTry) {
      trials.push_back({next.proposal.at, next.proposal.rung, next.proposal.parent, false, {}, {}});
      std::cout << Json(sweep.space.values(next.proposal.at)).dump() << std::endl;
      continue;
    }
    std::cout << "null" << std::endl;
    if (!std::getline(std::cin, line)) return;
    trials[ended].measured.losses = Json::parse(line).get<std::vector<double>>();
    trials[ended++].ended = true;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A strategy of sweeps, asked and told by lines");
  Sweep sweep;
  std::string space;
  app.add_option("strategy", sweep.strategy.name)->required();
  app.add_option("seed", sweep.strategy.seed)->required();
  app.add_option("space", space)->required();
  app.add_option("--population", sweep.strategy.population);
  sweep.parallel = 1;
  app.add_option("--parallel", sweep.parallel);
  CLI11_PARSE(app, argc, argv);
  for (const auto& json : parse_json(space, "space")) sweep.space.dimensions.push_back(dimension(json));
  play(sweep);
}

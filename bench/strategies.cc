// A strategy as a program that is asked and told, line by line, so that bench/strategies.py can play it on
// any function.
//
// The first line on stdin says what is played: {"strategy", "seed", "space", "objectives", "trials",
// "population", "fidelity"?}.
// Each line on stdout is a trial, {"values", "rung", "parent"}, and each further line on stdin what the one
// before came to, a list of losses. It ends where the strategy has nothing more to try, or with stdin.
#include <iostream>

#include "server/sweeps/strategy.h"

namespace {

using namespace wring;

Sweep sweep_of(const Json& json) {
  Sweep sweep;
  sweep.space = parse_space(json.at("space"), "space", Source{});
  sweep.strategy.name = json.at("strategy").get<std::string>();
  sweep.strategy.seed = json.at("seed").get<std::uint64_t>();
  sweep.strategy.population = json.at("population").get<std::uint64_t>();
  if (json.contains("fidelity")) {
    const Json& fidelity = json.at("fidelity");
    sweep.strategy.fidelity = Fidelity{"", fidelity.at("low"), fidelity.at("high"), fidelity.at("eta")};
  }
  if (sweep.strategy.fidelity) sweep.strategy.configurations = json.at("trials").get<std::uint64_t>();
  sweep.objectives.resize(json.at("objectives").get<std::size_t>());
  sweep.bounds.trials = json.at("trials").get<std::uint64_t>();
  sweep.parallel = 1;
  return sweep;
}

void play(const Json& game) {
  const Sweep sweep = sweep_of(game);
  const auto strategy = make_strategy(sweep, {sweep.bounds.trials});
  std::vector<TrialView> trials;
  std::string line;
  for (;;) {
    const Next next = strategy->next(trials);
    if (next.advice != Advice::kTry) return;
    const Proposal& proposal = next.proposal;
    const Json asked{
        {"values", sweep.space.values(proposal.at)}, {"rung", proposal.rung}, {"parent", proposal.parent}};
    std::cout << asked.dump() << std::endl;
    if (!std::getline(std::cin, line)) return;
    TrialView trial{proposal.at, proposal.rung, proposal.parent, true, {}, {}};
    trial.measured.losses = Json::parse(line).get<std::vector<double>>();
    trials.push_back(std::move(trial));
  }
}

}  // namespace

int main() {
  std::string line;
  if (!std::getline(std::cin, line)) return 2;
  play(wring::Json::parse(line));
}

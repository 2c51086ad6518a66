// Plans in the order in which they are verified, and what came of them.
#include "server/sweeps/goal_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <tuple>
#include <utility>

#include "common/text.h"
#include "recipe/goal.h"
#include "server/sweeps/outcome.h"

namespace wring {
namespace {

constexpr std::array<Trust, 5> kTrusts{1, 0.75, 0.5, 0.25, 0};
constexpr std::size_t kRefinements = 2, kApproaches = 7;
constexpr std::size_t kMeasuredRefinements =
    4;                                    // where memory or speed is bound, which are foreseen less well
constexpr double kUnused = 0.005;         // of a bound: less is not worth another trial
constexpr double kMeasuredUnused = 0.03;  // of memory and speed
constexpr double kStride = 1.15;          // between costs, until the bound lies between two
constexpr double kClose = 1.02;

std::string shown(double value, const Metric& metric) {
  if (metric.name.find("bytes") != std::string::npos) return human_bytes(static_cast<std::uint64_t>(value));
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::optional<double> value_of(const TrialView& trial, const Metric& metric) {
  const Json* const row = find_metric_row(trial.outcome, metric);
  if (!row) return std::nullopt;
  return row->at("value").get<double>();
}

bool bounds_measured_cost(const Sweep& sweep) {
  return std::any_of(sweep.constraints.begin(), sweep.constraints.end(),
                     [](const auto& bound) { return is_cost(bound.metric) && !is_size(bound.metric); });
}

std::size_t refinements(const Sweep& sweep) {
  return bounds_measured_cost(sweep) ? kMeasuredRefinements : kRefinements;
}

bool is_measured(const TrialView& trial) {
  return trial.ended && !trial.measured.losses.empty();
}
bool holds(const TrialView& trial) {
  return is_measured(trial) && trial.measured.violation == 0;
}

// " (137 % of the input's)", where that is what is bound.
std::string share_text(const Json& row, const Constraint& bound) {
  if (!bound.of_input || !is_cost(bound.metric)) return "";
  char text[48];
  std::snprintf(text, sizeof text, " (%.4g %% of the input's)",
                100 * row.at("value").get<double>() / row.at("baseline").get<double>());
  return text;
}

// "perplexity is 25.3, wanted at most 24.1"
std::vector<std::string> misses(const TrialView& trial, const std::vector<Constraint>& constraints) {
  std::vector<std::string> texts;
  for (const auto& bound : constraints) {
    const auto violation = violation_of(trial.outcome, {bound});
    if (!violation || *violation == 0) continue;
    const Json& row = *find_metric_row(trial.outcome, bound.metric);
    const double unit = bound.of_input ? row.at("baseline").get<double>() : 1;
    texts.push_back(bound.metric.name + " is " + shown(row.at("value").get<double>(), bound.metric) +
                    share_text(row, bound) + ", wanted at " + (bound.maximum ? "most " : "least ") +
                    shown((bound.maximum ? *bound.maximum : *bound.minimum) * unit, bound.metric));
  }
  return texts;
}

// ": perplexity takes decoder-lm; this model is an encoder. What takes it: ..."; empty where nothing says
// why.
std::string why_failed(const TrialView& trial) {
  const Json error = json_or<Json>(trial.outcome, "error", Json::object());
  const auto message = json_or<std::string>(error, "message", ""),
             hint = json_or<std::string>(error, "hint", "");
  return message.empty() ? "" : ": " + message + (hint.empty() ? "" : ". " + hint);
}

bool exceeds(const Plan& plan, const Budget& most) {
  return (most.bytes && static_cast<double>(plan.bytes) > *most.bytes) ||
         (most.seconds && plan.seconds > *most.seconds);
}

bool better(const Measured& a, const Measured& b) {
  return std::tie(a.violation, a.losses) < std::tie(b.violation, b.losses);
}

}  // namespace

GoalSearch::GoalSearch(const Sweep& sweep)
    : sweep_(sweep), is_fast_best_(is_speed(sweep.objectives.front().metric)) {}

Next GoalSearch::next(std::span<const TrialView> trials) {
  if (trials.empty()) return {Advice::kTry, {.label = "sensitivity", .recipe = sensitivity_recipe(sweep_)}};
  if (!trials[0].ended) return {Advice::kWait, {}};
  if (!table_) {
    if (!trials[0].outcome.contains("sensitivity"))
      return {.reason = "not met: the layers' sensitivity could not be measured, see trial 0" +
                        why_failed(trials[0])};
    try {
      table_.emplace(sweep_, trials[0].outcome);
      lay_out();
    } catch (const Error& error) {  // what a worker sent is no such table
      table_.reset();
      return {.reason = "not met: the layers' sensitivity cannot be used: " + error.message()};
    }
  }
  const std::size_t made = trials.size() - 1;
  const auto add = [&](std::optional<Plan> plan) {
    if (plan) plans_.push_back(*std::move(plan));
    return plan.has_value();
  };
  while (plans_.size() < made && add(another(trials.first(plans_.size() + 1)))) {
  }
  const auto all_ended = [&] {
    return std::all_of(trials.begin(), trials.end(), [](const auto& trial) { return trial.ended; });
  };
  if (plans_.size() <= made) {
    if (!all_ended()) return {Advice::kWait, {}};
    if (!add(another(trials))) return {.reason = conclusion(trials)};
  }
  return {Advice::kTry, {.label = plans_[made].label, .recipe = plans_[made].recipe}};
}

std::string GoalSearch::state(std::span<const TrialView> trials) const {
  if (trials.empty() || !trials[0].ended) return "measures how sensitive each layer is";
  if (plans_.empty()) return "";  // next() has not been asked since a restart
  const auto ended = std::count_if(trials.begin() + 1, trials.end(), [](const auto& t) { return t.ended; });
  return std::to_string(ended) + " of " + std::to_string(std::max(plans_.size(), trials.size() - 1)) +
         " plans are verified" +
         (plans_.size() > laid_out_ ? ", the last of them made of what came of the first" : "");
}

bool GoalSearch::is_known(const Plan& plan) const {
  return std::any_of(plans_.begin(), plans_.end(), [&](const auto& p) { return p.levels == plan.levels; });
}

void GoalSearch::lay_out() {
  const Budget most = table_->most();
  auto uniform = table_->uniform();
  if (most.is_bound()) {
    for (std::size_t i = 0; i < (table_->has_kl() ? sweep_.strategy.plans : 1); ++i)
      if (auto plan = table_->mixed(kTrusts[i], most); plan && !is_known(*plan)) plans_.push_back(*plan);
    if (plans_.empty()) plans_.push_back(table_->cheapest(most));
    std::erase_if(uniform, [&](const Plan& plan) { return exceeds(plan, most); });
    std::stable_sort(uniform.begin(), uniform.end(),
                     [](const Plan& a, const Plan& b) { return a.loss < b.loss; });
  } else {
    plans_.push_back(first_guess());
    std::erase_if(uniform, [&](const Plan& plan) { return plan.loss > 2 * plans_.front().loss; });
  }
  std::size_t left = sweep_.strategy.uniform;
  for (auto& plan : uniform) {
    if (left == 0) break;
    if (is_known(plan)) continue;
    plans_.push_back(std::move(plan));
    --left;
  }
  laid_out_ = plans_.size();
}

double GoalSearch::cost_of(const Plan& plan) const {
  return is_fast_best_ ? plan.seconds : static_cast<double>(plan.bytes);
}

// Where the sum of the layers' KL is somewhat below what the bounds let; in the middle where they do not say.
Plan GoalSearch::first_guess() const {
  const Budget any = is_fast_best_ ? Budget{{}, 1e9} : Budget{1e18, {}};
  double low = cost_of(table_->cheapest(any)), high = cost_of(*table_->mixed(1, any));
  const double aim = 0.8 * aimed_loss();
  if (aim <= 0) return at_cost(std::sqrt(low * high));
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (at_cost(middle).loss <= aim ? high : low) = middle;
  }
  return at_cost(high);
}

Plan GoalSearch::at_cost(double cost) const {
  const Budget budget = is_fast_best_ ? Budget{{}, cost} : Budget{cost, {}};
  auto plan = table_->mixed(1, budget).value_or(table_->cheapest(budget));
  plan.label += " at " + (is_fast_best_ ? format_number(1000 * plan.seconds, 3) + " ms a token"
                                        : human_bytes(plan.bytes));
  return plan;
}

// What a plan's KL may be, as far as the bounds say; 0: they do not.
double GoalSearch::aimed_loss() const {
  if (!table_->has_kl()) return 0;
  for (const auto& bound : sweep_.constraints) {
    if (!bound.maximum) continue;
    if (bound.metric.name == "kl_mean") return *bound.maximum;
    if (bound.metric.name == "perplexity" && bound.of_input && *bound.maximum > 1)
      return std::log(*bound.maximum);
  }
  return 0;
}

std::optional<Plan> GoalSearch::another(std::span<const TrialView> trials) const {
  if (!table_->most().is_bound()) return closer(trials);
  auto plan = refined(trials);
  return plan ? plan : best_uniform(trials);
}

// Whether it takes nearly all that one of the bounds on cost lets it have.
bool GoalSearch::is_used_up(const TrialView& trial) const {
  return std::any_of(sweep_.constraints.begin(), sweep_.constraints.end(), [&](const Constraint& bound) {
    if (!is_cost(bound.metric)) return false;
    const Json& row = *find_metric_row(trial.outcome, bound.metric);
    const double value = row.at("value").get<double>(),
                 unit = bound.of_input ? row.at("baseline").get<double>() : 1;
    const double unused = is_size(bound.metric) ? kUnused : kMeasuredUnused;
    return is_speed(bound.metric) ? bound.minimum && value * (1 - unused) < *bound.minimum * unit
                                  : bound.maximum && value > (1 - unused) * *bound.maximum * unit;
  });
}

// The plan that was best, within what is left once it is known what plans cost beyond what was foreseen.
std::optional<Plan> GoalSearch::refined(std::span<const TrialView> trials) const {
  if (plans_.size() >= laid_out_ + refinements(sweep_)) return std::nullopt;
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < plans_.size(); ++i)
    if (is_measured(trials[i + 1]) && !plans_[i].uniform &&
        (!best || better(trials[i + 1].measured, trials[*best + 1].measured)))
      best = i;
  if (!best) return std::nullopt;
  const TrialView& nearest = trials[*best + 1];
  if (holds(nearest) && is_used_up(nearest)) return std::nullopt;
  auto plan = table_->mixed(plans_[*best].trust, table_->most(learned(trials)));
  if (!plan || is_known(*plan)) return std::nullopt;
  plan->label += ", refined";
  return plan;
}

// The best level that all layers take, where none was foreseen to hold the bounds: what memory and speed come
// to is known only now.
std::optional<Plan> GoalSearch::best_uniform(std::span<const TrialView> trials) const {
  const bool has_one = std::any_of(plans_.begin(), plans_.end(), [](const auto& p) { return p.uniform; });
  if (has_one || sweep_.strategy.uniform == 0) return std::nullopt;
  const Budget most = table_->most(learned(trials));
  std::optional<Plan> best;
  for (auto& plan : table_->uniform())
    if (!exceeds(plan, most) && !is_known(plan) && (!best || plan.loss < best->loss)) best = std::move(plan);
  return best;
}

// What plans took beyond what was foreseen, at most.
Plans::Unforeseen GoalSearch::learned(std::span<const TrialView> trials) const {
  Plans::Unforeseen most;
  const auto raise = [](std::optional<double>& known, const std::optional<double>& more) {
    if (more) known = std::max(known.value_or(*more), *more);
  };
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    const TrialView& trial = trials[i + 1];
    if (!is_measured(trial) || plans_[i].uniform) continue;
    const auto more = table_->unforeseen(plans_[i], trial.outcome);
    raise(most.bytes, more.bytes);
    raise(most.memory, more.memory);
    raise(most.seconds, more.seconds);
  }
  return most;
}

// A plan nearer to the smallest one that holds the bounds.
std::optional<Plan> GoalSearch::closer(std::span<const TrialView> trials) const {
  std::optional<double> fails, works;  // costs
  std::size_t tried = 0;
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    if (plans_[i].uniform) continue;
    ++tried;
    const double cost = cost_of(plans_[i]);
    if (holds(trials[i + 1]))
      works = std::min(works.value_or(cost), cost);
    else
      fails = std::max(fails.value_or(cost), cost);
  }
  if (tried >= kApproaches || (fails && works && *works < *fails * kClose)) return std::nullopt;
  auto plan = at_cost(!works ? *fails * kStride : !fails ? *works / kStride : std::sqrt(*fails * *works));
  if (is_known(plan)) return std::nullopt;
  return plan;
}

std::string GoalSearch::conclusion(std::span<const TrialView> trials) const {
  std::optional<std::size_t> best, uniform;
  std::size_t held = 0;
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    if (!is_measured(trials[i + 1])) continue;
    held += holds(trials[i + 1]);
    const auto prefer = [&](std::optional<std::size_t>& known) {
      if (!known || better(trials[i + 1].measured, trials[*known + 1].measured)) known = i;
    };
    prefer(best);
    if (plans_[i].uniform) prefer(uniform);
  }
  if (!best) return "not met: no plan could be measured, see trial 1" + why_failed(trials[1]);
  const Metric& metric = sweep_.objectives.front().metric;
  const auto named = [&](std::size_t i) {
    return "trial " + std::to_string(i + 1) + " (" + plans_[i].label + "), " + metric.name + " " +
           shown(*value_of(trials[i + 1], metric), metric);
  };
  if (!holds(trials[*best + 1]))
    return "not met: nearest is " + named(*best) + "; its " +
           join(misses(trials[*best + 1], sweep_.constraints), "; its ");
  std::string text =
      "met: " + named(*best) + ", is the best of " + std::to_string(held) + " that hold the bounds";
  if (!uniform) return text + "; no uniform level was measured";
  if (*uniform == *best) return text;
  return text + "; the best uniform level is " + named(*uniform) +
         (holds(trials[*uniform + 1]) ? "" : ", which does not hold them");
}

std::uint64_t most_goal_trials(const Sweep& sweep) {
  const auto& spec = sweep.strategy;
  return 1 + std::max<std::uint64_t>(spec.plans + refinements(sweep), kApproaches) + spec.uniform;
}

}  // namespace wring

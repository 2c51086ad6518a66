// Suites of questions whose candidates are ranked by likelihood (LLM-KICK, Jaiswal et al., ICLR 2024).
#include <algorithm>

#include "engine/eval/choice_items.h"
#include "engine/eval/likelihood.h"
#include "engine/eval/suite.h"

namespace wring {
namespace {

std::vector<ChoiceItem> items_of(const Params& params, const EvaluationInput& input) {
  const auto task = params.get<std::string>("task");
  const FileTree& data = input.data(params.get<std::string>("data"));
  const auto count = params.get<std::size_t>("items"), longest = params.get<std::size_t>("max_length");
  if (task == "piqa") return piqa(data, count);
  if (task == "mmlu-answers") return mmlu_answers(data, count);
  return mmlu_letters(data, params.get<std::size_t>("shots"), count, [&](const std::string& prompt) {
    return input.tokenizer.encode(prompt, true).size() <= longest;
  });
}

std::vector<EvaluationRow> multiple_choice(const Params& params, EvaluationInput& input) {
  auto task = params.get<std::string>("task");
  std::replace(task.begin(), task.end(), '-', '_');
  const ServedModel served(params, input);
  auto rows = score_choices("multiple-choice", task, items_of(params, input), input);
  served.note(rows);
  return rows;
}

std::vector<EvaluationRow> in_context(const Params& params, EvaluationInput& input) {
  const bool context = params.get<bool>("context");
  const auto items =
      invented_facts(params.get<std::size_t>("items"), params.get<std::size_t>("facts"), context, input.seed);
  const ServedModel served(params, input);
  auto rows = score_choices("in-context", context ? "open_book" : "closed_book", items, input);
  served.note(rows);
  return rows;
}

WRING_SUITE("multiple-choice", multiple_choice);
WRING_SUITE("in-context", in_context);

}  // namespace
}  // namespace wring

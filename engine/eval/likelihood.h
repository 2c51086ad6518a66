// Which candidate a decoder finds likeliest after a prompt.
#pragma once

#include <string>
#include <vector>

#include "engine/eval/choice_items.h"
#include "engine/eval/suite.h"

namespace wring {

// ln p(candidate | prompt), summed over the candidate's tokens, by item and candidate. Tokens are those of
// the whole text less the prompt's own. Items are streamed through the model block by block, some at a time,
// so that every weight is decoded once for many of them.
std::vector<std::vector<double>> candidate_likelihoods(Model& model, const Tokenizer& tokenizer,
                                                       const std::vector<ChoiceItem>& items,
                                                       Progress& progress);

// Rows of `suite`: TASK_accuracy, and TASK_accuracy_norm (likelihood by character) where candidates differ in
// length; of a compressed model also how they changed, paired by item, with the dense model's answers taken
// from `input.before` or, where it was not measured, from the reference.
std::vector<EvaluationRow> score_choices(const std::string& suite, const std::string& task,
                                         const std::vector<ChoiceItem>& items, EvaluationInput& input);

// Two-sided exact p of McNemar's test: of n = a + b changes, as uneven a split by a fair coin.
double mcnemar_p(std::uint64_t a, std::uint64_t b);

}  // namespace wring

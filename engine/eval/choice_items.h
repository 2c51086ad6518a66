// Questions with candidate answers, and the prompts under which a model ranks them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/file_tree.h"

namespace wring {

// A model answers with the candidate that it gives the highest likelihood after the prompt.
struct ChoiceItem {
  std::string group;  // MMLU's subject; "" where there are none
  std::string prompt;
  std::vector<std::string> candidates;  // as they go on after the prompt: " A", " Paris"
  std::size_t answer = 0;               // index of the right one
};

// Whether a prompt is short enough.
using Fits = std::function<bool(const std::string& prompt)>;

// MMLU as its CSV files have it (Hendrycks et al., ICLR 2021): test/SUBJECT_test.csv, examples from
// dev/SUBJECT_dev.csv, wherever in the tree. At most `count` items (0: all), subjects taken in turn.
// Candidates are the letters; `shots` examples stand in front, fewer where `fits` says so. Throws
// Error(kInvalidArgument) BAD_CSV, BAD_ITEMS naming the file.
std::vector<ChoiceItem> mmlu_letters(const FileTree& data, std::size_t shots, std::size_t count,
                                     const Fits& fits);

// The same questions, the answers' texts as candidates and no list of them in the prompt: what a model knows,
// whatever it makes of letters.
std::vector<ChoiceItem> mmlu_answers(const FileTree& data, std::size_t count);

// PIQA (Bisk et al., AAAI 2020): one *.jsonl of goal, sol1, sol2 and one *.lst of labels.
std::vector<ChoiceItem> piqa(const FileTree& data, std::size_t count);

// Invented facts, so that nothing but the context can tell: a paragraph of `facts` towns, each with a year,
// and the question for one of them; the candidates are years that the paragraph names. Without `context` the
// question stands alone, and only chance answers. Equal seeds give equal items.
std::vector<ChoiceItem> invented_facts(std::size_t count, std::size_t facts, bool context,
                                       std::uint64_t seed);

}  // namespace wring

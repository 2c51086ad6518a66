// How normalised text is cut into the words that the model half sees.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/text/pattern.h"

namespace wring {

struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct PrefixSpaceStep {};  // a space before each piece that has none
struct BertSplitStep {};    // white space removed, punctuation isolated
using PreTokenizerStep = std::variant<SplitStep, PrefixSpaceStep, BertSplitStep>;

// Steps in order, each applied to every piece of the one before. Immutable; any thread may use it.
class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // The words of one well-formed text: views into it, or into strings that are added to `storage`.
  std::vector<std::string_view> split(std::string_view utf8, std::deque<std::string>& storage) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

// The regular expressions that published vocabularies were trained with.
extern const std::string_view kGpt2Words;  // ByteLevel's own
extern const std::string_view
    kLlama3Words;  // numbers in runs of at most three digits, line ends with what precedes
extern const std::string_view kQwen2Words;   // the same, each digit alone
extern const std::string_view kTekkenWords;  // Mistral's: words cut before capitals
extern const std::string_view kGpt4oWords;   // the same, with contractions

}  // namespace wring

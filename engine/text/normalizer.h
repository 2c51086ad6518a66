// What happens to text before it is cut: Unicode normal forms, BERT's cleaning, lower case, accents.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/text/unicode.h"

namespace wring {

struct LowercaseStep {};
struct StripAccentsStep {};
struct BertStep {
  bool clean_text = true;            // drops control characters, makes every white space U+0020
  bool handle_chinese_chars = true;  // sets ideographs apart by spaces
  bool strip_accents = true;         // decomposes and drops non-spacing marks
  bool lowercase = true;
};
using NormalizerStep = std::variant<NormalForm, LowercaseStep, StripAccentsStep, BertStep>;

// Steps in order; none leaves text as it is. Immutable; any thread may use it.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  std::string normalize(std::string_view utf8) const;  // of well-formed UTF-8

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace wring

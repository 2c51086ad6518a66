// Regular expressions as tokenizer files write them, on PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace wring {

// What becomes of the matches when a text is cut at them.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A compiled pattern. Tokenizer files speak Oniguruma's dialect: \s and \w are translated to what they mean
// there; ^ and $ are those of a line. Immutable; any thread may use it.
class Pattern {
 public:
  // Throws Error(kInvalidArgument, "BAD_TOKENIZER") that names `field` and the offset where it does not
  // compile.
  static Pattern regex(std::string_view expression, std::string_view field);
  static Pattern literal(std::string_view text, std::string_view field);

  // Appends to `out` the pieces of each text of `in`, cut at the matches (or, with `invert`, at what lies
  // between). Texts are well-formed UTF-8. Throws Error(kResourceExhausted, "PATTERN_TOO_COSTLY") where
  // matching exceeds its step or memory limit.
  void split(const std::vector<std::string_view>& in, SplitBehavior behavior, bool invert,
             std::vector<std::string_view>& out) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace wring

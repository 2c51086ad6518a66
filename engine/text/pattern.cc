// PCRE2, compiled once to machine code where it can be.
#include "engine/text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/error.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

constexpr std::uint32_t kMatchSteps = 10'000'000;
constexpr std::uint32_t kMatchKibibytes = 256 << 10;
constexpr std::size_t kLongestExpression = 64 << 10;

// Oniguruma's \s is the property White_Space, its \w letters, marks, decimal digits and connectors; PCRE2's
// differ.
constexpr std::string_view kSpaces = R"(\t-\r \x{85}\p{Z})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kLatin1Numbers = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";  // its \w too, outside [ ]

[[noreturn]] void refuse_escape(char letter, std::string_view field) {
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_TOKENIZER",
              std::string("the escape \\") + letter + " is not supported here", std::string(field));
}

// What the escape of `letter` means to Oniguruma, in PCRE2's terms; empty where both mean the same.
std::string translated_escape(char letter, bool in_set, std::string_view field) {
  const std::string spaces(kSpaces), letters = std::string(kWord) + std::string(kLatin1Numbers);
  const std::string word = "[" + letters + "]";
  if (in_set && (letter == 'S' || letter == 'W')) refuse_escape(letter, field);
  switch (letter) {
    case 's':
      return in_set ? spaces : "[" + spaces + "]";
    case 'w':
      return in_set ? std::string(kWord) : word;
    case 'S':
      return "[^" + spaces + "]";
    case 'W':
      return "[^" + letters + "]";
    case 'b':
      return in_set ? "" : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    case 'B':
      return in_set ? "" : "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
    case 'h':
    case 'H':
      refuse_escape(letter, field);
    default:
      return {};
  }
}

std::string translate(std::string_view expression, std::string_view field) {
  std::string out;
  int depth = 0;  // of [ ]
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c != '\\' || i + 1 == expression.size()) {
      depth += c == '[' ? 1 : c == ']' && depth > 0 ? -1 : 0;
      out += c;
      continue;
    }
    const auto escape = translated_escape(expression[++i], depth > 0, field);
    out += escape.empty() ? std::string{'\\', expression[i]} : escape;
  }
  return out;
}

struct Span {
  std::size_t begin, end;
  bool match;
};

// HF's five behaviours, on the alternating spans of one text.
std::vector<Span> join_spans(const std::vector<Span>& spans, SplitBehavior behavior) {
  std::vector<Span> joined;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const bool after_other = i > 0 && spans[i - 1].match != spans[i].match;
    const bool joins = (behavior == SplitBehavior::kContiguous && i > 0 && !after_other) ||
                       (behavior == SplitBehavior::kMergedWithPrevious && spans[i].match && after_other) ||
                       (behavior == SplitBehavior::kMergedWithNext && !spans[i].match && after_other);
    if (behavior == SplitBehavior::kRemoved && spans[i].match) continue;
    if (joins) {
      joined.back().end = spans[i].end;
    } else {
      joined.push_back(spans[i]);
    }
  }
  return joined;
}

}  // namespace

struct Pattern::Code {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, &pcre2_code_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits{nullptr,
                                                                                   &pcre2_match_context_free};
  std::string field;

  static std::shared_ptr<const Code> compile(std::string_view expression, std::uint32_t options,
                                             std::string_view field);

  // The spans of `text`, matches and what lies between, none empty.
  void find(std::string_view text, pcre2_match_data* data, bool invert, std::vector<Span>& spans) const;
  bool next(std::string_view text, std::size_t from, pcre2_match_data* data) const;
};

std::shared_ptr<const Pattern::Code> Pattern::Code::compile(std::string_view expression,
                                                            std::uint32_t options, std::string_view field) {
  const auto compiled = std::make_shared<Code>();
  int error = 0;
  std::size_t offset = 0;
  compiled->field = field;
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                     options, &error, &offset, nullptr));
  if (!compiled->code || expression.size() > kLongestExpression) {
    PCRE2_UCHAR message[256] = "the expression is longer than 64 KiB";
    if (!compiled->code) pcre2_get_error_message(error, message, sizeof message);
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "the regular expression fails at byte " + std::to_string(offset) + " of '" +
                    std::string(expression.substr(0, 200)) + "': " + reinterpret_cast<const char*>(message),
                std::string(field));
  }
  compiled->limits.reset(pcre2_match_context_create(nullptr));
  if (!compiled->limits) throw std::bad_alloc();
  pcre2_set_match_limit(compiled->limits.get(), kMatchSteps);
  pcre2_set_heap_limit(compiled->limits.get(), kMatchKibibytes);
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);  // without it pcre2_match interprets
  return compiled;
}

bool Pattern::Code::next(std::string_view text, std::size_t from, pcre2_match_data* data) const {
  const auto match = [&](std::uint32_t options) {
    return pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                       data, limits.get());
  };
  int result = match(PCRE2_NO_UTF_CHECK);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(result, message, sizeof message);
    throw Error(ErrorCode::kResourceExhausted, "PATTERN_TOO_COSTLY",
                std::string("a regular expression of the tokenizer gives up on a text of ") +
                    std::to_string(text.size()) + " bytes: " + reinterpret_cast<const char*>(message),
                field);
  }
  return true;
}

void Pattern::Code::find(std::string_view text, pcre2_match_data* data, bool invert,
                         std::vector<Span>& spans) const {
  const auto* bounds = pcre2_get_ovector_pointer(data);
  const auto add = [&](std::size_t begin, std::size_t end, bool match) {
    if (begin < end) spans.push_back({begin, end, match != invert});
  };
  std::size_t from = 0, done = 0;
  while (from < text.size() && next(text, from, data)) {
    const auto begin = std::max<std::size_t>(bounds[0], done), end = std::max<std::size_t>(bounds[1], begin);
    add(done, begin, false);
    add(begin, end, true);
    done = end;
    from = end;
    if (begin == end && from < text.size()) from += code_point_at(text, from).bytes;
  }
  add(done, text.size(), false);
}

Pattern Pattern::regex(std::string_view expression, std::string_view field) {
  return Pattern(Code::compile(translate(expression, field),
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, field));
}

Pattern Pattern::literal(std::string_view text, std::string_view field) {
  return Pattern(Code::compile(text, PCRE2_UTF | PCRE2_LITERAL, field));
}

void Pattern::split(const std::vector<std::string_view>& in, SplitBehavior behavior, bool invert,
                    std::vector<std::string_view>& out) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr), &pcre2_match_data_free);
  if (!data) throw std::bad_alloc();
  std::vector<Span> spans;
  for (const auto text : in) {
    spans.clear();
    code_->find(text, data.get(), invert, spans);
    if (behavior != SplitBehavior::kIsolated) spans = join_spans(spans, behavior);
    for (const auto& span : spans) out.push_back(text.substr(span.begin, span.end - span.begin));
  }
}

}  // namespace wring

// The cutting steps.
#include "engine/text/pre_tokenizer.h"

#include "engine/text/bert_unicode.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

struct Cut {
  const std::vector<std::string_view>& in;
  std::deque<std::string>& storage;
  std::vector<std::string_view> out;

  void operator()(const SplitStep& step) { step.pattern.split(in, step.behavior, step.invert, out); }

  void operator()(PrefixSpaceStep) {
    for (const auto piece : in) {
      out.push_back(piece.starts_with(' ') ? piece : storage.emplace_back(" " + std::string(piece)));
    }
  }

  void operator()(BertSplitStep) {
    for (const auto piece : in) split_bert(piece);
  }

  void split_bert(std::string_view piece) {
    std::size_t start = 0;
    const auto end_word = [&](std::size_t end) {
      if (start < end) out.push_back(piece.substr(start, end - start));
    };
    for (std::size_t i = 0; i < piece.size();) {
      const auto [c, bytes] = code_point_at(piece, i);
      const bool punctuation = is_bert_punctuation(c);
      if (punctuation || is_white_space(c)) {
        end_word(i);
        start = i + bytes;
      }
      if (punctuation) out.push_back(piece.substr(i, bytes));
      i += bytes;
    }
    end_word(piece.size());
  }
};

}  // namespace

std::vector<std::string_view> PreTokenizer::split(std::string_view utf8,
                                                  std::deque<std::string>& storage) const {
  std::vector<std::string_view> pieces;
  if (!utf8.empty()) pieces.push_back(utf8);
  for (const auto& step : steps_) {
    Cut cut{pieces, storage, {}};
    std::visit(cut, step);
    pieces = std::move(cut.out);
  }
  return pieces;
}

const std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)";
const std::string_view kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)";
const std::string_view kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace wring

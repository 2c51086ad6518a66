// Greedy longest-match-first segmentation of words.
#include "engine/text/wordpiece.h"

#include <algorithm>

#include "engine/text/unicode.h"

namespace wring {
namespace {

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace

WordPiece::WordPiece(const Vocabulary& vocabulary, Options options) : options_(std::move(options)) {
  for (std::size_t i = 0; i < vocabulary.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const auto* token = vocabulary.token(id);
    if (!token) continue;
    starts_.insert_or_assign(*token, id);
    if (token->starts_with(options_.prefix)) {
      continuations_.insert_or_assign(token->substr(options_.prefix.size()), id);
    }
    longest_ = std::max(longest_, token->size());
  }
}

void WordPiece::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  const auto letters = static_cast<std::size_t>(
      std::count_if(word.begin(), word.end(), [](char c) { return !continues_character(c); }));
  if (letters > options_.maximum_word) return ids.push_back(options_.unknown);
  const auto first = ids.size();
  for (std::size_t start = 0; start < word.size();) {
    const auto& tokens = start == 0 ? starts_ : continuations_;
    auto length = std::min(longest_, word.size() - start);
    auto found = tokens.end();
    for (; length > 0 && found == tokens.end(); --length) {
      if (start + length < word.size() && continues_character(word[start + length])) continue;
      found = tokens.find(word.substr(start, length));
      if (found != tokens.end()) break;
    }
    if (found == tokens.end()) {
      ids.resize(first);
      return ids.push_back(options_.unknown);
    }
    ids.push_back(found->second);
    start += length;
  }
}

}  // namespace wring

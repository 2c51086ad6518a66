// The search for added tokens.
#include "engine/text/added_tokens.h"

#include <algorithm>
#include <functional>

#include "engine/text/unicode.h"

namespace wring {
namespace {

// Where the code point that ends at `end` begins.
std::size_t last_start(std::string_view text, std::size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool touches_words(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word(code_point_at(text, last_start(text, begin)).value)) ||
         (end < text.size() && is_word(code_point_at(text, end).value));
}

std::size_t before_spaces(std::string_view text, std::size_t begin, std::size_t least) {
  while (begin > least) {
    const auto start = last_start(text, begin);
    if (!is_white_space(code_point_at(text, start).value)) break;
    begin = start;
  }
  return begin;
}

std::size_t after_spaces(std::string_view text, std::size_t end) {
  while (end < text.size()) {
    const auto [c, bytes] = code_point_at(text, end);
    if (!is_white_space(c)) break;
    end += bytes;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  for (auto& token : tokens) {
    if (token.content.empty()) continue;
    auto& lengths = lengths_[static_cast<unsigned char>(token.content[0])];
    if (std::ranges::find(lengths, token.content.size()) == lengths.end())
      lengths.push_back(token.content.size());
    auto content = token.content;
    tokens_.insert_or_assign(std::move(content), std::move(token));
  }
  for (auto& lengths : lengths_) std::ranges::sort(lengths, std::greater<>());
}

const AddedToken* AddedTokens::longest_at(std::string_view text, std::size_t position) const {
  for (const auto length : lengths_[static_cast<unsigned char>(text[position])]) {
    if (length > text.size() - position) continue;
    const auto found = tokens_.find(text.substr(position, length));
    if (found != tokens_.end()) return &found->second;
  }
  return nullptr;
}

std::vector<AddedTokens::Section> AddedTokens::split(std::string_view text) const {
  std::vector<Section> sections;
  std::size_t done = 0;  // end of the last section
  const auto add = [&](std::size_t begin, std::size_t end, std::optional<std::int32_t> id) {
    if (begin < end) sections.push_back({text.substr(begin, end - begin), id});
  };
  for (std::size_t i = 0; !tokens_.empty() && i < text.size();) {
    const auto* token = longest_at(text, i);
    if (!token) {
      ++i;
      continue;
    }
    auto begin = i, end = i + token->content.size();
    i = end;
    if (begin < done || (token->single_word && touches_words(text, begin, end))) continue;
    if (token->lstrip) begin = before_spaces(text, begin, done);
    if (token->rstrip) end = after_spaces(text, end);
    add(done, begin, std::nullopt);
    add(begin, end, token->id);
    done = end;
  }
  add(done, text.size(), std::nullopt);
  return sections;
}

}  // namespace wring

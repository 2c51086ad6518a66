// Sentences as one padded batch of token ids.
#include "engine/model/padded_tokens.h"

#include <algorithm>

namespace wring {

PaddedTokens tokenize_sentences(const std::vector<std::string>& sentences, std::int64_t max_length,
                                const Tokenizer& tokenizer) {
  std::vector<std::vector<std::int32_t>> rows;
  std::size_t longest = 1;
  for (const auto& sentence : sentences) {
    auto ids = tokenizer.encode(sentence, true);
    if (static_cast<std::int64_t>(ids.size()) > max_length) {  // cut, but keep the closing token
      const auto closing = ids.back();
      ids.resize(static_cast<std::size_t>(max_length));
      ids.back() = closing;
    }
    longest = std::max(longest, ids.size());
    rows.push_back(std::move(ids));
  }
  const auto n = static_cast<std::int64_t>(rows.size()), width = static_cast<std::int64_t>(longest);
  PaddedTokens tokens{at::zeros({n, width}, at::kLong), at::zeros({n, width}, at::kBool)};
  auto ids = tokens.ids.accessor<std::int64_t, 2>();
  auto mask = tokens.mask.accessor<bool, 2>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < rows[static_cast<std::size_t>(i)].size(); ++j) {
      ids[i][static_cast<std::int64_t>(j)] = rows[static_cast<std::size_t>(i)][j];
      mask[i][static_cast<std::int64_t>(j)] = true;
    }
  return tokens;
}

}  // namespace wring

// Tokens that are found in the text itself, before it is cut: special ones and the vocabulary's extras.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace wring {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;      // left out by decode(skip_special_tokens)
  bool normalized = false;   // looked for in the normalised text, else in the raw text
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // and after it
};

// Finds a set of tokens, the leftmost first and the longest of those that start together. Immutable.
class AddedTokens {
 public:
  struct Section {
    std::string_view text;
    std::optional<std::int32_t> id;  // of the token that stands here; nullopt: plain text
  };

  // A token without content is never found; of two with one content the later counts.
  explicit AddedTokens(std::vector<AddedToken> tokens = {});

  // `text`, well-formed, cut into plain text and tokens, in order; no empty section.
  std::vector<Section> split(std::string_view text) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t position) const;

  StringMap<AddedToken> tokens_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // by first byte: the lengths there are, longest first
};

}  // namespace wring

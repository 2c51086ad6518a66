// WordPiece: the model half of BERT's tokenizers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace wring {

// Cuts a word into the longest tokens from the left; tokens that continue a word carry a prefix (Wu et al.,
// 2016). A word that cannot be cut, or is too long, is the unknown token. Immutable; any thread may use it.
class WordPiece {
 public:
  struct Options {
    std::string prefix = "##";
    std::int32_t unknown = 0;
    std::size_t maximum_word = 100;  // code points
  };
  WordPiece(const Vocabulary& vocabulary, Options options);

  // Appends the ids of one word of well-formed UTF-8.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  Options options_;
  StringMap<std::int32_t> starts_, continuations_;  // the latter without their prefix
  std::size_t longest_ = 0;                         // bytes of the longest token
};

}  // namespace wring

// Byte-pair encoding over bytes: the model half of GPT-2's, Llama-3's, SmolLM2's and Qwen2's tokenizers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/vocabulary.h"

namespace wring {

// Merges adjacent symbols, the pair of lowest rank first and the leftmost of equals (Sennrich et al., ACL
// 2016), until no pair of the word has a rank. A word costs O(n log n). Immutable; any thread may use it.
class Bpe {
 public:
  struct Options {
    bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
    std::optional<std::int32_t>
        unknown;                // for a byte without a token; such bytes vanish where this is absent
    bool fuse_unknown = false;  // one `unknown` for a run of them
  };
  using Merge = std::pair<std::string, std::string>;

  // Tokens and merges are spelt in the byte alphabet; a merge's place in the list is its rank. Throws
  // Error(kInvalidArgument, "BAD_TOKENIZER") that names merges[i] where a part or the whole is no token.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const Options& options,
      std::string_view merges_field);

  // Appends the ids of one word, given as its raw bytes.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  struct Slot {
    std::uint64_t pair = kEmpty;  // left id << 32 | right id
    std::uint32_t rank = 0;
    std::int32_t merged = 0;
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous,
        next;  // places in the word, -1 at its ends; a symbol merged into its left has id -1
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static constexpr std::int32_t kNone = -1;

  Slot& slot(std::uint64_t pair);
  const Slot* merge_of(std::int32_t left, std::int32_t right) const;
  std::vector<Symbol> symbols_of(std::string_view word) const;

  Options options_;
  std::array<std::int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;        // open addressing, a power of two, at most half full
  StringMap<std::int32_t> words_;  // raw bytes -> id; filled where ignore_merges
};

}  // namespace wring

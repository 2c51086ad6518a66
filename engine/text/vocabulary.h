// A vocabulary: tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace wring {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

template <typename T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

// Built by add(), then read-only. Ids need not be dense. Movable, not copyable.
class Vocabulary {
 public:
  static constexpr std::int64_t kMaximumSize = 1 << 23;

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // Throws Error(kInvalidArgument, "BAD_TOKENIZER") that names `field` where the id is negative or too large,
  // or the token is no UTF-8. A token that is added again gets the later id.
  void add(std::string_view token, std::int64_t id, std::string_view field);

  std::optional<std::int32_t> id(std::string_view token) const;
  const std::string* token(std::int32_t id) const;     // nullptr where no token has that id
  std::size_t size() const { return tokens_.size(); }  // one more than the largest id

 private:
  StringMap<std::int32_t> ids_;
  std::vector<const std::string*> tokens_;  // keys of ids_, whose nodes never move
};

}  // namespace wring

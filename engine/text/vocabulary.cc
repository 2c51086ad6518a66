// A vocabulary's look-ups.
#include "engine/text/vocabulary.h"

#include "common/error.h"
#include "engine/text/unicode.h"

namespace wring {

void Vocabulary::add(std::string_view token, std::int64_t id, std::string_view field) {
  if (id < 0 || id >= kMaximumSize) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "the id " + std::to_string(id) + " is outside [0, " + std::to_string(kMaximumSize) + ")",
                std::string(field));
  }
  std::string repaired;
  if (well_formed_utf8(token, repaired).data() != token.data()) {
    throw Error(ErrorCode::kInvalidArgument, "BAD_TOKENIZER",
                "token " + std::to_string(id) + " is no well-formed UTF-8", std::string(field));
  }
  const auto node = ids_.insert_or_assign(std::string(token), static_cast<std::int32_t>(id)).first;
  if (tokens_.size() <= static_cast<std::size_t>(id))
    tokens_.resize(static_cast<std::size_t>(id) + 1, nullptr);
  tokens_[static_cast<std::size_t>(id)] = &node->first;
}

std::optional<std::int32_t> Vocabulary::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token(std::int32_t id) const {
  return id >= 0 && static_cast<std::size_t>(id) < tokens_.size() ? tokens_[static_cast<std::size_t>(id)]
                                                                  : nullptr;
}

}  // namespace wring

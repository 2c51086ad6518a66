// Encoding and decoding, whatever the parts.
#include "engine/text/pipeline.h"

#include <array>
#include <deque>

#include "common/error.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/unicode.h"

namespace wring {
namespace {

// One call of encode(): its output, and which of its words were seen before.
class Encoding {
 public:
  explicit Encoding(const std::variant<Bpe, WordPiece>& model) : model_(model) {}

  void add(std::int32_t id) { ids_.push_back(id); }

  // Appends the ids of `word`, whose bytes outlive this object. Text repeats its words: their ids are copied.
  void add_word(std::string_view word) {
    if (word.size() > kLongestRemembered) return encode(word);
    const auto [known, is_new] = words_.try_emplace(word, Range{ids_.size(), 0});
    auto& range = known->second;
    if (is_new) {
      encode(word);
      range.count = ids_.size() - range.first;
    } else {
      for (std::size_t i = 0; i < range.count; ++i) ids_.push_back(ids_[range.first + i]);
    }
  }

  std::vector<std::int32_t> take() { return std::move(ids_); }

 private:
  struct Range {
    std::size_t first, count;  // in ids_
  };
  static constexpr std::size_t kLongestRemembered = 64;

  void encode(std::string_view word) {
    std::visit([&](const auto& model) { model.encode(word, ids_); }, model_);
  }

  const std::variant<Bpe, WordPiece>& model_;
  std::vector<std::int32_t> ids_;
  std::unordered_map<std::string_view, Range> words_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Undoes the spaces that cutting English apart left behind.
void clean_up(std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRepairs{{{" .", "."},
                                                                                    {" ?", "?"},
                                                                                    {" !", "!"},
                                                                                    {" ,", ","},
                                                                                    {" ' ", "'"},
                                                                                    {" n't", "n't"},
                                                                                    {" 'm", "'m"},
                                                                                    {" do not", " don't"},
                                                                                    {" 's", "'s"},
                                                                                    {" 've", "'ve"},
                                                                                    {" 're", "'re"}}};
  for (const auto& [from, to] : kRepairs) replace_all(text, from, to);
}

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(TokenizerParts parts);

  std::vector<std::int32_t> encode(std::string_view utf8, bool add_special_tokens) const override;
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const override;
  std::size_t vocabulary_size() const override { return parts_.vocabulary.size(); }
  std::optional<std::int32_t> token_id(std::string_view token) const override {
    return parts_.vocabulary.id(token);
  }
  std::optional<std::int32_t> end_of_text() const override { return parts_.end_of_text; }

 private:
  std::string text_of(const std::string& token, bool first) const;

  TokenizerParts parts_;
  AddedTokens in_raw_, in_normalized_;
  std::vector<bool> special_;  // by id
  std::unordered_map<std::int32_t, std::string>
      shown_;  // what decode() gives where that is not the token itself
};

Pipeline::Pipeline(TokenizerParts parts) : parts_(std::move(parts)), special_(parts_.vocabulary.size()) {
  std::vector<AddedToken> raw, normalized;
  for (const auto& token : parts_.added) {
    special_[static_cast<std::size_t>(token.id)] = token.special;
    (token.normalized ? normalized : raw).push_back(token);
  }
  for (auto& token : normalized) {
    token.content = parts_.normalizer.normalize(token.content);
    shown_.insert_or_assign(token.id, token.content);
  }
  in_raw_ = AddedTokens(std::move(raw));
  in_normalized_ = AddedTokens(std::move(normalized));
}

std::vector<std::int32_t> Pipeline::encode(std::string_view utf8, bool add_special_tokens) const {
  std::deque<std::string> storage;  // keeps what `encoding` remembers
  Encoding encoding(*parts_.model);
  const auto add_all = [&](const std::vector<std::int32_t>& ids) {
    for (const auto id : ids) encoding.add(id);
  };
  if (add_special_tokens) add_all(parts_.before);
  for (const auto& [raw, raw_id] : in_raw_.split(well_formed_utf8(utf8, storage.emplace_back()))) {
    if (raw_id) {
      encoding.add(*raw_id);
      continue;
    }
    const auto text =
        parts_.normalizer.empty() ? raw : storage.emplace_back(parts_.normalizer.normalize(raw));
    for (const auto& [plain, id] : in_normalized_.split(text)) {
      if (id) {
        encoding.add(*id);
      } else {
        for (const auto word : parts_.pre_tokenizer.split(plain, storage)) encoding.add_word(word);
      }
    }
  }
  if (add_special_tokens) add_all(parts_.after);
  return encoding.take();
}

std::string Pipeline::text_of(const std::string& token, bool first) const {
  if (!parts_.wordpiece_decoder) return spelt_bytes(token).value_or(token);
  const auto& [prefix, cleanup] = *parts_.wordpiece_decoder;
  std::string text = first ? token : token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
  if (cleanup) clean_up(text);
  return text;
}

std::string Pipeline::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  bool first = true;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= vocabulary_size()) {
      throw Error(ErrorCode::kOutOfRange, "BAD_TOKEN_ID",
                  "token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                      " is outside [0, " + std::to_string(vocabulary_size()) + ")");
    }
    const auto* token = parts_.vocabulary.token(ids[i]);
    if (!token || (skip_special_tokens && special_[static_cast<std::size_t>(ids[i])])) continue;
    const auto shown = shown_.find(ids[i]);
    bytes += text_of(shown == shown_.end() ? *token : shown->second, first);
    first = false;
  }
  std::string repaired;
  return std::string(well_formed_utf8(bytes, repaired));
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts) {
  return std::make_unique<Pipeline>(std::move(parts));
}

}  // namespace wring

// Text to token ids and back, as the model that ships the vocabulary expects it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/file_tree.h"

namespace wring {

// A vocabulary and the way text is cut into it. Immutable once loaded, so any thread may use it.
//
// Ids lie in [0, vocabulary_size()) and equal those of Hugging Face `tokenizers` on the same text. Bytes that
// are no UTF-8 are read as U+FFFD, one for each maximal ill-formed piece, as Python's errors="replace" does.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `utf8`. Special tokens that stand in the text are found as such. `add_special_tokens` puts
  // those of the model's template ([CLS] ... [SEP], a BOS) around it.
  virtual std::vector<std::int32_t> encode(std::string_view utf8, bool add_special_tokens = false) const = 0;

  // The text of `ids`; a character that its bytes leave incomplete becomes U+FFFD. Throws
  // Error(kOutOfRange, "BAD_TOKEN_ID") that names the position of an id outside the vocabulary.
  virtual std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens = true) const = 0;

  // One more than the largest id.
  virtual std::size_t vocabulary_size() const = 0;

  // The id of a token as the vocabulary spells it ("Ġthe", "##ing", "<|im_end|>").
  virtual std::optional<std::int32_t> token_id(std::string_view token) const = 0;

  // The token that ends a text or a turn, as the model's files name it; generation stops there.
  virtual std::optional<std::int32_t> end_of_text() const = 0;
};

// The tokenizer of a model: its tokenizer.json (BPE or WordPiece), or else the vocabulary inside its *.gguf.
// Throws Error kNotFound "NO_TOKENIZER" that names what was looked for, kInvalidArgument "BAD_TOKENIZER" with
// the field's path where the file is malformed or larger than 64 MiB, and kUnimplemented
// "UNSUPPORTED_TOKENIZER" that names an unknown component and lists the known ones.
std::unique_ptr<Tokenizer> load_tokenizer(const FileTree& model);

}  // namespace wring

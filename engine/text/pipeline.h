// The one Tokenizer: added tokens, normaliser, pre-tokeniser, model, template and decoder, put together by
// the loaders.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/json.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"
#include "engine/text/wordpiece.h"

namespace wring {

// How WordPiece tokens become text again; BPE needs nothing but its bytes.
struct WordPieceDecoder {
  std::string prefix = "##";
  bool cleanup = true;  // no space before punctuation and contractions
};

// What a tokenizer is made of.
struct TokenizerParts {
  Vocabulary vocabulary;
  std::vector<AddedToken> added;  // their contents are in the vocabulary
  Normalizer normalizer;
  PreTokenizer pre_tokenizer{{}};
  std::optional<std::variant<Bpe, WordPiece>> model;  // set by the loader
  std::optional<WordPieceDecoder> wordpiece_decoder;  // nullopt: byte-level
  std::vector<std::int32_t> before, after;            // what add_special_tokens puts around a text
  std::optional<std::int32_t> end_of_text;
};

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts);

// The parts that a tokenizer.json names. `origin` begins the paths in errors; `end_of_text` is the content of
// the token that ends a text, or empty. Errors: see load_tokenizer.
TokenizerParts parse_tokenizer_json(const Json& json, const std::string& origin,
                                    const std::string& end_of_text);

}  // namespace wring

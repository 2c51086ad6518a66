// The vocabulary inside a GGUF as a tokenizer.json, so that an artifact carries it in the form everyone
// reads.
#pragma once

#include <string>

#include "common/json.h"
#include "formats/gguf.h"

namespace wring {

// tokenizer.json of the byte-level BPE (tokenizer.ggml.model gpt2) or uncased WordPiece (bert) in `file`.
// Throws kUnimplemented "UNSUPPORTED_TOKENIZER" naming another model or pre-tokeniser, kInvalidArgument
// "BAD_TOKENIZER" for keys that do not fit.
Json tokenizer_json_from_gguf(const GgufFile& file);

// Whether two names of tokenizer.ggml.pre are read as one tokenizer.json: "smollm" and "gpt-2".
bool cuts_alike(const std::string& pre, const std::string& other);

}  // namespace wring

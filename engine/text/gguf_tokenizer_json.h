// The vocabulary inside a GGUF as a tokenizer.json, so that an artifact carries it in the form everyone
// reads.
#pragma once

#include "common/json.h"
#include "formats/gguf.h"

namespace wring {

// tokenizer.json of the byte-level BPE in `file` (tokenizer.ggml.model gpt2). Throws kUnimplemented
// "UNSUPPORTED_TOKENIZER" naming another model or pre-tokeniser, kInvalidArgument "BAD_TOKENIZER" for keys
// that do not fit.
Json tokenizer_json_from_gguf(const GgufFile& file);

}  // namespace wring

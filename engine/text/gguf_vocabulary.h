// A tokenizer.json as the keys of a GGUF: the way back from gguf_tokenizer_json.h.
#pragma once

#include <vector>

#include "common/json.h"
#include "formats/gguf_writer.h"

namespace wring {

// The keys tokenizer.ggml.* of a byte-level BPE or an uncased WordPiece. `vocabulary_size` is the number of
// the embedding's rows: ids that the tokenizer lacks become unused tokens. `config` (config.json) names a
// BPE's BOS and EOS. Throws Error(kUnimplemented, "UNSUPPORTED_TOKENIZER") for a tokenizer that GGUF's models
// cannot express, Error(kInvalidArgument, "VOCABULARY_MISMATCH") where a token's id has no row,
// "BAD_TOKENIZER" where a member is of another type than it should be.
std::vector<GgufKeyToWrite> gguf_vocabulary(const Json& tokenizer, const Json& config,
                                            std::int64_t vocabulary_size);

}  // namespace wring

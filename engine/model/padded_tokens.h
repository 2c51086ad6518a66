// Sentences as one padded batch of token ids.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace wring {

struct PaddedTokens {
  at::Tensor ids;   // [sentences, longest] int64, 0 where padded
  at::Tensor mask;  // the same shape, bool: true = a real token
};

// Each sentence with the model's special tokens; longer ones are cut to `max_length` ids and keep their
// closing token.
PaddedTokens tokenize_sentences(const std::vector<std::string>& sentences, std::int64_t max_length,
                                const Tokenizer& tokenizer);

}  // namespace wring

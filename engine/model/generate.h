// Writing text: KV-cached decoding, greedy or sampled.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/model/model.h"

namespace wring {

struct GenerateOptions {
  std::int64_t tokens = 40;  // at most
  double temperature = 0;    // 0: greedy
  double top_p = 1;          // nucleus, of sampling
  std::uint64_t seed = 0;
  std::optional<std::int32_t> stop;  // ends after this token
};

// Tokens that the model was made for, prompt and continuation together; no bound where its rope is scaled:
// configurations differ in whether they name the trained length or the stretched one.
std::int64_t context_length(const Model& model);

// Continues `prompt` (at least one id). Layers should be materialised by the caller (or have their own
// kernels). `on_token` sees each new id. Throws Error(kInvalidArgument) for an encoder, an empty prompt, or
// more tokens than context_length().
std::vector<std::int32_t> generate(Model& model, const std::vector<std::int32_t>& prompt,
                                   const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& on_token = {});

// The weight of every layer made ready for repeated small forwards: layers whose rep has a kernel of its own
// stay as they are, the others are decoded once and held. Keep the result alive while decoding.
DecodedLayers ready_for_decoding(Model& model);

}  // namespace wring

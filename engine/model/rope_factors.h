// Llama 3's rotary scaling as GGUF has it: a table of what each frequency is divided by.
#pragma once

#include <ATen/ATen.h>

#include "common/json.h"

namespace wring {

// fp32 [head_dim / 2] of config.json; undefined where its scaling is not llama3.
at::Tensor rope_factors(const Json& config, std::int64_t head_dim);

// The way back: {"rope_type": "llama3", ...} whose factors are these, on the base `theta`. Of three numbers
// that mean the same when all are multiplied, low_freq_factor is 1, as in Meta's models. Throws
// Error(kUnimplemented, "ROPE_SCALING") where the table is another one.
Json rope_scaling_of(const at::Tensor& factors, double theta);

}  // namespace wring

// GGUF's names for Hugging Face's tensors, and the row order of rotary projections.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace wring {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight", and the same of an encoder's names;
// names that GGUF has no counterpart of stay as they are.
std::string gguf_name(const std::string& name);

// Without the "bert." that classes with a head put before an encoder's names, and that is not in a GGUF.
std::string encoder_name(const std::string& name);

// GGUF's llama stores rows of q and k with the two halves of a head interleaved; this gives, for each row of
// Hugging Face's order, the row to take. Its argsort is the way back.
at::Tensor unpermuted_rows(std::int64_t rows, std::int64_t heads);

// Whether the tensor (Hugging Face's name) is in that order: a weight or bias of q_proj or k_proj.
bool is_rotary(const std::string& name);

}  // namespace wring

// What an encoder and its heads make of tokens, computed from the model's tensors: what an export of them is
// compared with.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "engine/model/model.h"

namespace wring {

// By the names of transformers' outputs: last_hidden_state, and of the heads that the model has
// pooler_output, logits, start_logits, end_logits, seq_relationship_logits, all fp32. ids, types int64 and
// mask bool: each [batch, positions]. `observer` is told of the layers' inputs. Throws
// Error(kInvalidArgument, "NOT_EXPRESSIBLE") naming a parameter that is no part of a head as transformers has
// them.
std::map<std::string, at::Tensor> encoder_outputs(const Model& model, const at::Tensor& ids,
                                                  const at::Tensor& mask, const at::Tensor& types,
                                                  InputObserver* observer);

}  // namespace wring

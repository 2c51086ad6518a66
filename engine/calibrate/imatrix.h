// The importance of columns as llama.cpp's quantisers take it: squared inputs of each layer, summed over
// tokens.
#pragma once

#include "engine/model/model.h"
#include "engine/run/progress.h"
#include "formats/imatrix.h"

namespace wring {

// One pass over `ids` [sequences, length] int64, block by block in fp32. Entries have GGUF's names; embedding
// and head have none, as llama-imatrix has none of the output by default.
Imatrix collect_imatrix(Model& model, const at::Tensor& ids, Progress& progress);

}  // namespace wring

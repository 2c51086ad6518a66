// How many bytes the tensors of an export should take: worked out from the model's layers and what was asked,
// without a look at what an exporter makes of them.
#pragma once

#include <cstdint>
#include <string>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/model/model.h"

namespace wring {

struct AskedBytes {
  std::uint64_t bytes = 0;
  bool at_most = false;  // of an export that was asked to fit a size

  Json to_json() const;  // {"bytes": n}, and "at_most": true
};

// Of `model` in `format` with these parameters: bits of each weight's codes, its groups' scales and zero
// points, or the type that values are stored in. Without headers and an ONNX graph's constants. Throws as the
// exporter does of parameters, and kUnimplemented "UNKNOWN_FORMAT".
AskedBytes asked_bytes(const Model& model, const std::string& format, const Params& params);

}  // namespace wring

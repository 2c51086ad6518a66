// Tensors to and from safetensors files.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "formats/safetensors.h"

namespace wring {

// The tensor `name`, in place in the mapped file where it is aligned: never written to. Throws
// kUnimplemented "UNSUPPORTED_DTYPE" for an element type that ATen lacks.
at::Tensor read_tensor(const SafetensorsReader& reader, const std::string& name);

// What writes `tensor` (of any device) under `name`.
TensorToWrite to_write(const std::string& name, const at::Tensor& tensor);

}  // namespace wring

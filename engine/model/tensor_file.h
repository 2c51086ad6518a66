// Tensors to and from safetensors files.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "formats/safetensors.h"

namespace wring {

// A tensor as it lies in a file, in place where it is aligned: never written to. Throws kUnimplemented
// "UNSUPPORTED_DTYPE" for an element type that ATen lacks.
at::Tensor tensor_of(const FileTensor& file);
at::Tensor read_tensor(const SafetensorsReader& reader, const std::string& name);

// What writes `tensor` (of any device) under `name`.
TensorToWrite to_write(const std::string& name, const at::Tensor& tensor);

}  // namespace wring

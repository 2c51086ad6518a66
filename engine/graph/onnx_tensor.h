// Tensors of ONNX files as ATen's, and back.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "formats/onnx/onnx.h"

namespace wring {

// Throws Error(kUnimplemented, "UNSUPPORTED_DTYPE") naming `place` for a type that ATen lacks (4 bits).
at::ScalarType scalar_type(OnnxType type, const std::string& place);
OnnxType onnx_type(at::ScalarType type);

// Without a copy, and never to be written to; `to_tensor` makes one, in host memory.
at::Tensor view_of(const OnnxTensor& tensor, const std::string& place);
at::Tensor to_tensor(const OnnxTensor& tensor, const std::string& place);
// Without a copy where `tensor` lies contiguous in host memory.
OnnxTensor to_onnx(const std::string& name, const at::Tensor& tensor);

}  // namespace wring

// One TensorProto as an OnnxTensor. Includes protobuf: for this folder's .cc files alone.
#pragma once

#include <onnx.pb.h>

#include <string>

#include "formats/onnx/onnx.h"

namespace wring {

// Takes raw data out of `proto` without a copy. `place` stands for the tensor in errors where it has no name.
// Throws as read_onnx() does.
OnnxTensor take_tensor(onnx::TensorProto& proto, const std::string& place, const OnnxDataOpener& open_data);

}  // namespace wring

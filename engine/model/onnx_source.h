// ONNX files that Wring has exported as a source of a family's tensors; and their names, which the exporter
// shares.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "formats/onnx/onnx.h"

namespace wring {

inline constexpr char kOnnxModelFile[] = "model.onnx";
inline constexpr int kOnnxExportVersion = 2;  // 1: before inputs on one scale, and uint8

// What a layer L (of several parts: L.0, L.1, ...) has, by how its nodes read it:
//   Gather, Gemm          L.weight [out, in]
//   MatMul                L.weight_t [in, out]
//   two MatMuls           L.a_t [in, rank], L.b_t [rank, out]
//   MatMulNBits           L.codes uint8 [out, blocks, bytes], L.scales [out * blocks], L.zeros uint8
//   DequantizeLinear and MatMul, or MatMulInteger
//                         L.codes_t int8 [in, out], L.scales [out], L.zeros int8 [out]; uint8 where the layer
//                         rounds its inputs, unless products=fast was asked for
// L.zeros only where the grid is not symmetric, or where it is uint8's 128 of a DequantizeLinear. Where the
// first input of the node that multiplies ends with this, the layer rounds its inputs to int8: if a
// DequantizeLinear makes it, on the scale and zero point which that has (uint8: 128 more than int8's), else
// by token. MatMulInteger's always are, by token.
inline constexpr char kRoundedInput[] = "/rounded";
// Behind the name of what is rounded: its codes, as QuantizeLinear makes them or as floats from -128 to 127.
inline constexpr char kInputCodes[] = ".codes";
// Behind the name of another parameter that lies transposed.
inline constexpr char kTransposed[] = "_t";

// The model.onnx of such a folder. Throws as read_onnx() does, and kUnimplemented "FORMAT_VERSION".
OnnxModel read_onnx_export(const FileTree& tree);

// Weights in the reps that their nodes compute with: nothing but the graph says what they are. Throws
// Error(kInvalidArgument, "BAD_WEIGHT_REP") naming the layer whose nodes and tensors do not fit together.
class OnnxTensors final : public TensorSource {
 public:
  explicit OnnxTensors(OnnxModel model);

  bool has(const std::string& name) const override;
  at::Tensor tensor(const std::string& name) const override;
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override;

  // The value that holds the codes of what the layer rounds; "" where it rounds nothing.
  std::string input_codes(const std::string& layer) const;

 private:
  std::shared_ptr<const WeightRep> part(const std::string& name) const;
  std::shared_ptr<const WeightRep> packed(const std::string& name) const;
  std::shared_ptr<const WeightRep> whole_rows(const std::string& name) const;
  const OnnxNode* product_of(const std::string& layer) const;
  std::optional<InputRounding> rounding_by(const OnnxNode& product) const;
  const OnnxNode& reader_of(const std::string& tensor) const;
  at::Tensor matrix(const std::string& name) const;

  OnnxModel model_;
  std::map<std::string, const OnnxTensor*> tensors_;
  std::map<std::string, const OnnxNode*> readers_;  // of values: the first
  std::map<std::string, const OnnxNode*> makers_;   // of values that nodes make
};

}  // namespace wring

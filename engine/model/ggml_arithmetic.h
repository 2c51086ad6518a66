// What llama.cpp computes with GGUF's blocks: inputs of a layer are rounded to the blocks' partner type.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/model/model.h"
#include "formats/gguf.h"

namespace wring {

// `x` [..., in] fp32 as llama.cpp's CPU kernels round the inputs of a layer whose weight lies in blocks of
// the ggml type `type`: Q8_0, Q4_0 to Q5_1, IQ4_NL and MXFP4 in groups of 32 to 8 bits on an fp16 scale (its
// Q8_0); K-quants in groups of 256 to 8 bits on an fp32 scale (its Q8_K). `x` itself beside floats, and
// Q8_1's fp16 sums, which Q4_1 and Q5_1 are multiplied with there, are not rounded.
at::Tensor round_as_llama(const at::Tensor& x, GgmlType type);

// While it lives, the layers of `model` that hold GGUF's blocks round their inputs so; of nullptr none do.
// Look-ups of an embedding round nothing, there and here.
class GgmlArithmetic {
 public:
  explicit GgmlArithmetic(Model* model);
  ~GgmlArithmetic();
  GgmlArithmetic(const GgmlArithmetic&) = delete;
  GgmlArithmetic& operator=(const GgmlArithmetic&) = delete;

  bool rounds() const { return !plain_.empty(); }

 private:
  std::vector<std::pair<Layer*, std::shared_ptr<const WeightRep>>> plain_;
};

}  // namespace wring

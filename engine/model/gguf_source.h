// A GGUF file seen as a Hugging Face model: config.json made of its keys, tensors under Hugging Face's names.
#pragma once

#include <memory>
#include <string>

#include "common/json.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "formats/gguf.h"

namespace wring {

// config.json for the file's architecture (llama, qwen2, bert). Throws kUnimplemented "UNSUPPORTED_MODEL".
Json config_from_gguf(const GgufFile& file);

// What of a GGUF's keys is in neither its config.json nor its tokenizer.json, and travels with the model:
// {key: string, integer, or list of strings}. Of a GGUF, or of a Wring folder that was made of one; else
// empty.
Json carried_keys(const FileTree& source);

// Quantised tensors stay in their blocks; q and k rows of llama are un-permuted.
class GgufTensors final : public TensorSource {
 public:
  explicit GgufTensors(std::shared_ptr<const GgufFile> file);
  bool has(const std::string& name) const override;
  at::Tensor tensor(const std::string& name) const override;
  std::shared_ptr<const WeightRep> weight(const std::string& layer) const override;

 private:
  std::shared_ptr<const GgufFile> file_;
  std::int64_t heads_, kv_heads_;
  bool permuted_;
};

}  // namespace wring

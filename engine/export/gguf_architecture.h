// What a GGUF's keys say of a model's architecture, and what of the model it has a place for.
#pragma once

#include <string>
#include <vector>

#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "formats/gguf_mix.h"
#include "formats/gguf_writer.h"

namespace wring {

// Throws Error(kInvalidArgument, "NOT_EXPRESSIBLE"): "gguf " and `what`.
[[noreturn]] void refuse_gguf(const std::string& what, const std::string& field);

// llama (mistral too), qwen2 or bert. The constructor throws as refuse_gguf() does, naming the field of
// config.json or the parameter. The model must outlive it.
class GgufArchitecture {
 public:
  explicit GgufArchitecture(const Model& model);

  const std::string& name() const { return name_; }
  const Json& config() const { return config_; }
  std::int64_t head_size() const { return head_dim_; }
  // Whether rows of q and k lie in ggml's order, and how many heads the tensor has.
  bool permutes() const { return name_ == "llama"; }
  std::int64_t heads_of(const std::string& tensor) const;
  GgufModelFacts facts() const;
  // Whether the parameter goes into the file. An encoder's pooler does not: llama.cpp pools by itself.
  bool holds(const std::string& parameter) const;

  // `source`: of the model, which may say how it is pooled.
  std::vector<GgufKeyToWrite> keys(const FileTree& source) const;

 private:
  using Keys = std::vector<GgufKeyToWrite>;

  std::string text(const char* key) const;
  std::int64_t integer(const char* key) const;
  std::uint32_t count(const char* key) const { return static_cast<std::uint32_t>(integer(key)); }
  // Of a parameter by GGUF's name: llama.cpp wants as many positions and kinds of tokens as the tables have.
  std::uint32_t rows_of(const std::string& table) const;
  void check_encoder() const;
  void add(Keys& keys, const char* key, GgufStored value) const;
  void add_decoder(Keys& keys) const;
  void add_encoder(Keys& keys, const FileTree& source) const;
  void add_rope(Keys& keys) const;

  const Model& model_;
  const Json& config_;
  std::string name_;
  std::int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0;
};

}  // namespace wring

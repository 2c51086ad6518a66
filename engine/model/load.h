// Loading a model from a Hugging Face folder, a GGUF file, an ONNX export of Wring or a Wring artifact; and
// writing the latter.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "common/files.h"
#include "common/json.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"

namespace wring {

// Weights may stay in mapped files: the tree's files must not change while the model lives. Throws Error:
// kNotFound "NO_MODEL" (neither config.json nor a GGUF), kUnimplemented "UNSUPPORTED_MODEL", kInvalidArgument
// for what does not fit, "NOT_FINITE" naming a tensor with NaN or infinity. Forwards compute on `device`.
std::unique_ptr<Model> load_model(const FileTree& tree, at::Device device = at::kCPU);

// Writes a Wring artifact folder: config.json, wring.json (reps by layer), model.safetensors, tokenizer and
// licence files taken over from `source`. `lineage` goes into wring.json. Deterministic: equal model, equal
// bytes.
void save_model(const Model& model, const FileTree& source, const Json& lineage,
                const std::filesystem::path& folder, Durability durability = Durability::kMachine);

// The model's tokenizer.json, made of a GGUF's keys where there is no file. Throws kNotFound "NO_TOKENIZER".
Json tokenizer_json(const FileTree& source);

// What travels with a model: tokenizer (made of a GGUF's keys where there is no file), licence, model card.
void write_companions(const FileTree& source, const std::filesystem::path& folder,
                      Durability durability = Durability::kMachine);

// What the manifest of a saved model says of it.
Json model_metadata(const Model& model, const FileTree& source);

}  // namespace wring

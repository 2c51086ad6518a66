// An export whose files a fresh process has read back.
#pragma once

#include <filesystem>
#include <string>

#include "common/json.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "recipe/recipe.h"

namespace wring {

struct ExportTask {
  const Model& model;
  const FileTree& source;  // what it was loaded from
  const ExportSpec& spec;
  std::string field;             // of the spec, for messages: "to", "exports[0]"
  std::string name;              // of the model, for names of files
  std::filesystem::path folder;  // must not exist
  std::filesystem::path claims;  // where the claims are to stay; empty: nowhere
};

// Writes the folder and has another process compare the files with what was meant. Returns {weights, tensors,
// tensor_bytes, file_bytes, bits_per_weight, format, params}; left_out and not_read
// where there are such: parts of the model that the format has no place for, tensors of its files that are no
// part of it. Throws Error: what the format cannot express,
// kInternal "EXPORT_DIFFERS" or "EXPORT_NOT_VERIFIED".
Json write_checked_export(const ExportTask& task);

// What a model's exports are called: as its folder or file.
std::string name_of_model(const std::filesystem::path& path);

// Before anything runs: whether the format takes this kind of model. Throws Error(kInvalidArgument,
// "WRONG_MODEL_KIND").
void check_export(const ExportSpec& spec, const Model& model, const FileTree& source,
                  const std::string& field);

}  // namespace wring

// An export whose files a fresh process has read back.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "recipe/recipe.h"

namespace wring {

// Writes `model` (loaded from `source`) into `folder`, which must not exist, and has another process compare
// the files with what was meant. `name` goes into names of files. Returns {weights, tensors, tensor_bytes,
// file_bytes, bits_per_weight, format, params}. Throws Error: what the format cannot express, kDataLoss
// "EXPORT_NOT_VERIFIED".
Json write_checked_export(const Model& model, const FileTree& source, const ExportSpec& spec,
                          const std::string& name, const std::filesystem::path& folder);

// Before anything runs: whether the format takes this kind of model. Throws Error(kInvalidArgument,
// "WRONG_MODEL_KIND").
void check_export(const ExportSpec& spec, const Model& model, const std::string& field);

// Runs this program again with `arguments`; returns the JSON that it printed. Its errors go where ours go.
// Throws Error(kDataLoss, "EXPORT_NOT_VERIFIED") where it failed.
Json run_fresh(const std::vector<std::string>& arguments);

}  // namespace wring

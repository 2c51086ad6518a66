// How an export is scored where nobody brought a text: on one of Wring's own.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/error.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "recipe/recipe.h"

namespace wring {

inline constexpr std::string_view kOwnText = "own-text";  // the name of the data

struct OwnScore {
  EvaluationSpec evaluation;  // perplexity of four windows, an encoder's similarity; of data called kOwnText
  FileTree text;
};

// Writes the text below `folder`.
OwnScore own_score(const Model& model, const std::filesystem::path& folder);

// Why a model is not scored on it, which is no reason to refuse the export: it has no tokenizer that is known
// here, or its outputs are not finite. Rethrows what says nothing of the model.
std::string hindrance(const Error& error);

}  // namespace wring

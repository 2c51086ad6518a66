// How an export is scored where nobody brought a text: on one of Wring's own.
#pragma once

#include <filesystem>
#include <string_view>

#include "engine/model/model.h"
#include "formats/file_tree.h"
#include "recipe/recipe.h"

namespace wring {

inline constexpr std::string_view kOwnText = "own-text";  // the name of the data

struct OwnScore {
  EvaluationSpec evaluation;  // perplexity of four windows, an encoder's similarity; of data called kOwnText
  std::filesystem::path file;
  FileTree text;  // that file
};

// Writes the text below `folder`.
OwnScore own_score(const Model& model, const std::filesystem::path& folder);

}  // namespace wring

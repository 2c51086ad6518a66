// A thousand tokens: enough to tell a broken export from a whole one, seconds for a small model.
#include "engine/run/own_score.h"

#include <algorithm>
#include <string>

#include "common/files.h"
#include "engine/model/generate.h"
#include "engine/text/own_text.h"

namespace wring {

OwnScore own_score(const Model& model, const std::filesystem::path& folder) {
  constexpr std::int64_t kWindow = 256;
  const std::string data = "(data=" + std::string(kOwnText);
  const std::string call = model.kind() == "decoder-lm"
                               ? "perplexity" + data + ", windows=4, window=" +
                                     std::to_string(std::min(kWindow, context_length(model))) + ")"
                               : "similarity" + data + ")";
  const auto file = folder / (std::string(kOwnText) + ".txt");
  write_file_atomic(file, own_text());
  return {parse_recipe(call).evaluations.front(), FileTree::on_disk(file)};
}

std::string hindrance(const Error& error) {
  if (error.code() == ErrorCode::kCancelled || error.code() == ErrorCode::kInternal ||
      error.code() == ErrorCode::kResourceExhausted)
    throw error;
  return error.message();
}

}  // namespace wring

// Lists beside Hugging Face's plain fields.
#include "engine/model/block_sizes.h"

#include <algorithm>

#include "common/error.h"

namespace wring {
namespace {

constexpr const char* kSuffix = "_per_layer";
constexpr std::int64_t kLargest = 1 << 24;

}  // namespace

std::vector<std::int64_t> sizes_by_block(const Json& config, const std::string& key, std::int64_t plain,
                                         std::size_t blocks) {
  const std::string name = key + kSuffix;
  if (!config.contains(name)) return std::vector(blocks, plain);
  auto sizes = json_at<std::vector<std::int64_t>>(config, name.c_str(), "config.json");
  const bool in_range =
      std::all_of(sizes.begin(), sizes.end(), [](std::int64_t n) { return n >= 0 && n <= kLargest; });
  if (sizes.size() != blocks || !in_range)
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONFIG",
                "is no list of one size from 0 for each of " + std::to_string(blocks) + " blocks",
                "config.json." + name);
  return sizes;
}

void set_sizes_by_block(Json& config, const std::string& key, const std::vector<std::int64_t>& sizes) {
  const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  if (*most > 0) config[key] = *most;
  if (*least == *most && *most > 0)
    config.erase(key + kSuffix);
  else
    config[key + kSuffix] = sizes;
}

void check_whole_heads(const Json& config, const std::string& format) {
  for (const char* key : {kQueryWidths, kValueWidths})
    if (config.contains(key))
      throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                  format + " holds one head_dim for queries, keys and values, and all of their frequencies",
                  std::string("config.json.") + key,
                  "Keep it as a Wring folder, or leave the heads whole: modegpt(modules=mlp).");
}

void check_equal_blocks(const Json& config, const std::string& format) {
  check_whole_heads(config, format);
  for (const auto& [key, value] : config.items())
    if (key.ends_with(kSuffix) && value.is_array())
      throw Error(
          ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
          format + " holds one " + key.substr(0, key.size() - std::string(kSuffix).size()) +
              " for all blocks, and this model's differ",
          "config.json." + key,
          "Export it as onnx, which holds them, or as huggingface(pad=true) or gguf(pad=true), keep it "
          "as a Wring folder, or prune every block alike (structure=UL-UM, allocation=uniform).");
}

}  // namespace wring

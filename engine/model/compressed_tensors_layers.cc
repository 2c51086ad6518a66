// compressed-tensors, format pack-quantized: integers in 32-bit words, dense (from release 0.17) or with
// padded words.
#include <algorithm>
#include <optional>
#include <vector>

#include "engine/model/packed_rows.h"
#include "engine/model/quantized_layers.h"
#include "recipe/recipe.h"

namespace wring {
namespace {

struct Group {
  std::vector<std::string> targets;
  int bits = 4;
  bool symmetric = true;
  std::int64_t group_size = 0;  // -1: whole rows; 0: not said
};

Group read_group(const Json& json, const std::string& format, const std::string& member) {
  const auto of = [&](const Json& object, const char* key) {
    return json_or<Json>(object, key, nullptr, member);
  };
  if (const auto own = of(json, "format");
      (own.is_string() ? own.get<std::string>() : format) != "pack-quantized")
    throw_quantized_input("only the format pack-quantized is read", member + ".format");
  for (const char* key : {"input_activations", "output_activations"})
    if (!of(json, key).is_null())
      throw_quantized_input("quantised activations are not read", member + "." + key);
  const Json weights = json_at<Json>(json, "weights", member);
  const auto type = json_or<std::string>(weights, "type", "int", member + ".weights");
  if (type != "int")
    throw_quantized_input("weights of type '" + type + "' are not read", member + ".weights.type");
  const auto strategy = json_or<std::string>(weights, "strategy", "group", member + ".weights");
  if (strategy != "group" && strategy != "channel")
    throw_quantized_input("the strategy '" + strategy + "' is not read", member + ".weights.strategy");
  Group group;
  group.targets = json_at<std::vector<std::string>>(json, "targets", member);
  group.bits = json_at<int>(weights, "num_bits", member + ".weights");
  group.symmetric = json_or<bool>(weights, "symmetric", true, member + ".weights");
  group.group_size =
      strategy == "channel" ? -1 : json_or<std::int64_t>(weights, "group_size", 0, member + ".weights");
  if (group.bits < 1 || group.bits > 8)
    throw_quantized_input(std::to_string(group.bits) + " bits are not 1 to 8", member + ".weights.num_bits");
  return group;
}

// uint8 [rows, count] from words that are dense or, before 0.17, hold 32 / bits values each.
at::Tensor unpack_either(const at::Tensor& words, std::int64_t count, int bits, const std::string& layer) {
  if (words.size(1) == (count * bits + 31) / 32) return unpack_words(words, count, bits);
  const std::int64_t in_word = 32 / bits;
  if (words.size(1) != (count + in_word - 1) / in_word)
    throw_bad_quantized_layer(layer, std::to_string(words.size(1)) + " words a row do not hold " +
                                         std::to_string(count) + " values of " + std::to_string(bits) +
                                         " bits");
  return unpack_words(words.reshape({-1, 1}), in_word, bits).reshape({words.size(0), -1}).narrow(1, 0, count);
}

class CompressedTensors final : public QuantizedLayers {
 public:
  explicit CompressedTensors(const Json& config) {
    const std::string where = "config.json.quantization_config";
    const auto format = json_or<std::string>(config, "format", "", where);
    ignore_ = json_or<std::vector<std::string>>(config, "ignore", {}, where);
    const auto groups = json_at<Json>(config, "config_groups", where);
    for (const auto& [name, json] : groups.items())
      groups_.push_back(read_group(json, format, "config_groups." + name));
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                          const StoredTensors& stored) const override {
    const auto group = group_of(layer);
    if (!group || !stored.has(layer + ".weight_packed")) return nullptr;
    if (stored.has(layer + ".weight_g_idx"))
      throw_quantized_input("groups in activation order are not read", "actorder");
    const at::Tensor shape = stored.tensor(layer + ".weight_shape"),
                     scales = scale_matrix(layer, "weight_scale", stored),
                     words = packed_matrix(layer, "weight_packed", stored);
    if (shape.dim() != 1 || shape.numel() != 2 || shape.scalar_type() != at::kLong)
      throw_bad_quantized_layer(layer, "its weight_shape is no pair of 64-bit integers");
    const auto rows = shape[0].item<std::int64_t>(), columns = shape[1].item<std::int64_t>();
    if (columns < 1 || columns > words.numel() * 32 || words.size(0) != rows || columns % scales.size(1) != 0)
      throw_bad_quantized_layer(layer, "its weight_shape does not fit its weight_packed and weight_scale");
    PackedInt parts{
        group->bits, columns / scales.size(1), unpack_either(words, columns, group->bits, layer), scales, {}};
    if (!group->symmetric)
      parts.zeros =
          unpack_either(packed_matrix(layer, "weight_zero_point", stored).t(), rows, group->bits, layer)
              .t()
              .contiguous();
    return grid_rep(layer, parts, group->group_size);
  }

 private:
  std::optional<Group> group_of(const std::string& layer) const {
    const auto named = [&](const std::vector<std::string>& patterns) {
      return std::any_of(patterns.begin(), patterns.end(),
                         [&](const std::string& p) { return pattern_matches(p, layer, "Linear"); });
    };
    if (named(ignore_)) return std::nullopt;
    for (const auto& group : groups_)
      if (named(group.targets)) return group;
    return std::nullopt;
  }

  std::vector<std::string> ignore_;
  std::vector<Group> groups_;
};

}  // namespace

std::unique_ptr<QuantizedLayers> read_compressed_tensors(const Json& config) {
  return std::make_unique<CompressedTensors>(config);
}

}  // namespace wring

// compressed-tensors: pack-quantized (integers in 32-bit words, dense, from release 0.17, or with padded
// words), int-quantized and float-quantized; inputs rounded as they come, or on a scale in the file.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "common/error.h"
#include "engine/model/packed_rows.h"
#include "engine/model/quantized_layers.h"
#include "recipe/recipe.h"

namespace wring {
namespace {

struct Group {
  std::vector<std::string> targets;
  std::string format, strategy;
  int bits = 4;
  bool symmetric = true;
  std::int64_t group_size = 0;      // -1: whole rows; 0: not said
  std::vector<std::int64_t> block;  // rows and columns of a tile, of the strategy block
  std::optional<InputRounding> inputs;
  bool has_input_scales = false, has_input_zeros = false;  // the rounding is static: each layer has its own
  bool padded = false;                                     // written by a release before 0.17
};

// "0.16.1": words of 32 / bits values; without a version words are dense, as from 0.17.
bool has_padded_words(const std::string& version) {
  int major = 0, minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && major == 0 && minor < 17;
}

bool is_nibbles(const Group& group) {
  return group.format == "nvfp4-pack-quantized" || group.format == "mxfp4-pack-quantized";
}

Json member_of(const Json& object, const char* key, const std::string& path) {
  return json_or<Json>(object, key, nullptr, path);
}

void check_among(const std::string& value, const std::vector<std::string>& known, const std::string& what,
                 const std::string& path) {
  if (std::find(known.begin(), known.end(), value) == known.end())
    throw_quantized_input(what + " '" + value + "' is not read", path);
}

void read_inputs(const Json& json, const std::string& path, Group& group) {
  if (json.is_null()) return;
  const Json how = member_of(json, "dynamic", path);
  if (!json.is_object() || !(how.is_null() || how.is_boolean()))
    throw_quantized_input("inputs are read that are dynamic or static", path);
  const bool dynamic = how == Json(true), symmetric = json_or<bool>(json, "symmetric", true, path);
  const auto type = json_or<std::string>(json, "type", "int", path),
             strategy = json_or<std::string>(json, "strategy", dynamic ? "token" : "tensor", path);
  check_among(type, {"int", "float"}, "the type", path + ".type");
  check_among(strategy,
              dynamic ? std::vector<std::string>{"token", "group"} : std::vector<std::string>{"tensor"},
              "the strategy", path + ".strategy");
  if (json_or<int>(json, "num_bits", 8, path) != 8 || (!symmetric && (dynamic || type == "float")))
    throw_quantized_input(
        "inputs are read that are rounded to 8 bits, with a zero point where they are static integers", path);
  group.inputs = InputRounding{type == "int" ? InputType::kInt8 : InputType::kFloat8,
                               strategy == "group" ? json_at<std::int64_t>(json, "group_size", path) : -1};
  group.has_input_scales = !dynamic;
  group.has_input_zeros = !symmetric;
}

Group read_group(const Json& json, const std::string& default_format, const std::string& member) {
  Group group;
  const auto own = member_of(json, "format", member);
  group.format = own.is_string() ? own.get<std::string>() : default_format;
  check_among(
      group.format,
      {"pack-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized"},
      "the format", member + ".format");
  if (!member_of(json, "output_activations", member).is_null())
    throw_quantized_input("quantised outputs are not read", member + ".output_activations");
  read_inputs(member_of(json, "input_activations", member), member + ".input_activations", group);
  const std::string path = member + ".weights";
  const Json weights = json_at<Json>(json, "weights", member);
  const bool nibbles = is_nibbles(group), floats = nibbles || group.format == "float-quantized";
  check_among(json_or<std::string>(weights, "type", "int", path), {floats ? "float" : "int"}, "the type",
              path + ".type");
  group.strategy = json_or<std::string>(weights, "strategy", "group", path);
  check_among(group.strategy,
              nibbles  ? std::vector<std::string>{"tensor_group", "group"}
              : floats ? std::vector<std::string>{"tensor", "channel", "block"}
                       : std::vector<std::string>{"group", "channel"},
              "the strategy", path + ".strategy");
  group.targets = json_at<std::vector<std::string>>(json, "targets", member);
  group.bits = json_at<int>(weights, "num_bits", path);
  group.symmetric = json_or<bool>(weights, "symmetric", true, path);
  group.group_size = group.strategy == "channel" ? -1 : json_or<std::int64_t>(weights, "group_size", 0, path);
  if (group.strategy == "block") {
    group.block = json_at<std::vector<std::int64_t>>(weights, "block_structure", path);
    if (group.block.size() != 2) throw_quantized_input("a block has two sides", path + ".block_structure");
  }
  if (group.bits < 1 || group.bits > 8 || (floats && group.bits != (nibbles ? 4 : 8)))
    throw_quantized_input(std::to_string(group.bits) + " bits are not read here", path + ".num_bits");
  if (group.format != "pack-quantized" && !group.symmetric)
    throw_quantized_input("zero points are read of packed integers alone", path + ".symmetric");
  return group;
}

// uint8 [rows, count] from words that are dense or, before 0.17, hold 32 / bits values each: short rows may
// take as many of either.
at::Tensor unpack_either(const at::Tensor& words, std::int64_t count, int bits, bool padded,
                         const std::string& layer) {
  const std::int64_t in_word = 32 / bits;
  const bool fits = words.size(1) == (count + in_word - 1) / in_word;
  if (words.size(1) == (count * bits + 31) / 32 && !(padded && fits)) return unpack_words(words, count, bits);
  if (!fits)
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
    if (!member_of(config, "kv_cache_scheme", where).is_null())
      throw_quantized_input("a quantised cache of keys and values is not read", "kv_cache_scheme");
    const bool padded = has_padded_words(json_or<std::string>(config, "version", "", where));
    const auto groups = json_at<Json>(config, "config_groups", where);
    for (const auto& [name, json] : groups.items()) {
      groups_.push_back(read_group(json, format, "config_groups." + name));
      groups_.back().padded = padded;
    }
  }

  std::shared_ptr<const WeightRep> weight(const std::string& layer,
                                          const StoredTensors& stored) const override {
    const auto group = group_of(layer);
    const bool packed = group && (group->format == "pack-quantized" || is_nibbles(*group));
    if (!group || !stored.has(layer + (packed ? ".weight_packed" : ".weight_scale"))) return nullptr;
    auto weight = read_weight(*group, layer, stored);
    if (!group->inputs) return weight;
    try {
      return rounded_input_rep(std::move(weight), inputs_of(*group, layer, stored));
    } catch (const Error& e) {
      throw_bad_quantized_layer(layer, e.message());
    }
  }

 private:
  static InputRounding inputs_of(const Group& group, const std::string& layer, const StoredTensors& stored) {
    InputRounding rounding = *group.inputs;
    if (!group.has_input_scales) return rounding;
    const auto number = [&](const std::string& name) {
      if (!stored.has(layer + "." + name))
        throw_bad_quantized_layer(layer, "the files hold no " + name + " of it");
      const at::Tensor value = stored.tensor(layer + "." + name);
      if (value.numel() != 1) throw_bad_quantized_layer(layer, "its " + name + " is no single number");
      return value;
    };
    rounding.scale = number("input_scale").to(at::kDouble).item<double>();
    if (!rounding.is_static()) throw_bad_quantized_layer(layer, "its input_scale is 0");
    if (!group.has_input_zeros) return rounding;
    const at::Tensor zero = number("input_zero_point");
    if (!at::isIntegralType(zero.scalar_type(), /*includeBool=*/false))
      throw_bad_quantized_layer(layer, "its input_zero_point is no integer");
    rounding.zero = zero.item<std::int64_t>();
    return rounding;
  }

  static std::shared_ptr<const WeightRep> read_weight(const Group& group, const std::string& layer,
                                                      const StoredTensors& stored) {
    if (is_nibbles(group)) return nibbles(group, layer, stored);
    if (group.format == "pack-quantized") return packed_integers(group, layer, stored);
    return group.format == "int-quantized" ? bytes(group, layer, stored) : floats(group, layer, stored);
  }

  // uint8 [out, in / 2]; NVFP4 has a scale that divides those of the groups.
  static std::shared_ptr<const WeightRep> nibbles(const Group& group, const std::string& layer,
                                                  const StoredTensors& stored) {
    double global_scale = 1;
    if (group.format == "nvfp4-pack-quantized") {
      const at::Tensor scale = stored.tensor(layer + ".weight_global_scale");
      if (scale.numel() != 1) throw_bad_quantized_layer(layer, "its weight_global_scale is no single number");
      global_scale = scale.to(at::kDouble).item<double>();
    }
    auto weight =
        load_weight_rep(layer, "float4", {{"global_scale", global_scale}}, [&](const std::string& suffix) {
          return stored.tensor(layer + (suffix == "codes" ? ".weight_packed" : ".weight_scale"));
        });
    const auto groups = stored.tensor(layer + ".weight_scale").size(1);
    if (group.group_size > 0 && weight->columns() != groups * group.group_size)
      throw_bad_quantized_layer(layer, "its weight_packed and weight_scale are not of groups of " +
                                           std::to_string(group.group_size));
    return weight;
  }

  static std::shared_ptr<const WeightRep> packed_integers(const Group& group, const std::string& layer,
                                                          const StoredTensors& stored) {
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
    PackedInt parts{group.bits,
                    columns / scales.size(1),
                    unpack_either(words, columns, group.bits, group.padded, layer),
                    scales,
                    {}};
    if (!group.symmetric)
      parts.zeros = unpack_either(packed_matrix(layer, "weight_zero_point", stored).t(), rows, group.bits,
                                  group.padded, layer)
                        .t()
                        .contiguous();
    return grid_rep(layer, parts, group.group_size);
  }

  // int8 [out, in]
  static std::shared_ptr<const WeightRep> bytes(const Group& group, const std::string& layer,
                                                const StoredTensors& stored) {
    const at::Tensor values = stored.tensor(layer + ".weight"),
                     scales = scale_matrix(layer, "weight_scale", stored);
    if (values.dim() != 2 || values.numel() == 0 || values.scalar_type() != at::kChar ||
        values.size(0) != scales.size(0) || values.size(1) % scales.size(1) != 0)
      throw_bad_quantized_layer(layer, "its weight is no matrix of int8 that its weight_scale fits");
    const at::Tensor codes = values.to(at::kShort).add_(1 << (group.bits - 1));
    if (codes.min().item<std::int64_t>() < 0)
      throw_bad_quantized_layer(layer, "a value does not fit into " + std::to_string(group.bits) + " bits");
    return grid_rep(layer,
                    {group.bits, values.size(1) / scales.size(1), codes.to(at::kByte), scales, at::Tensor()},
                    group.group_size);
  }

  // float8_e4m3fn [out, in]
  static std::shared_ptr<const WeightRep> floats(const Group& group, const std::string& layer,
                                                 const StoredTensors& stored) {
    const at::Tensor values = stored.tensor(layer + ".weight");
    at::Tensor scales = stored.tensor(layer + ".weight_scale");
    if (values.dim() != 2 || values.numel() == 0) throw_bad_quantized_layer(layer, "its weight is no matrix");
    if (group.strategy == "tensor" && scales.numel() == 1) scales = scales.reshape({1, 1});
    const std::int64_t rows = values.size(0), columns = values.size(1);
    const Json attributes{
        {"block_rows", group.strategy == "channel"  ? 1
                       : group.strategy == "tensor" ? rows
                                                    : std::min(group.block[0], rows)},
        {"block_columns", group.strategy == "block" ? std::min(group.block[1], columns) : columns}};
    return load_weight_rep(layer, "float8", attributes,
                           [&](const std::string& suffix) { return suffix == "values" ? values : scales; });
  }

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

// The mixes of llama-quantize: more bits where a model suffers most from few.
#include "formats/gguf_mix.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <numeric>
#include <regex>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

using Type = GgmlType;

constexpr std::array<GgufFileType, 20> kFileTypes{{
    {"F32", 0, Type::kF32},        {"F16", 1, Type::kF16},          {"BF16", 32, Type::kBF16},
    {"Q4_0", 2, Type::kQ4_0},      {"Q4_1", 3, Type::kQ4_1},        {"Q5_0", 8, Type::kQ5_0},
    {"Q5_1", 9, Type::kQ5_1},      {"Q8_0", 7, Type::kQ8_0},        {"Q2_K", 10, Type::kQ2_K},
    {"Q2_K_S", 21, Type::kQ2_K},   {"Q3_K_S", 11, Type::kQ3_K},     {"Q3_K_M", 12, Type::kQ3_K},
    {"Q3_K_L", 13, Type::kQ3_K},   {"Q4_K_S", 14, Type::kQ4_K},     {"Q4_K_M", 15, Type::kQ4_K},
    {"Q5_K_S", 16, Type::kQ5_K},   {"Q5_K_M", 17, Type::kQ5_K},     {"Q6_K", 18, Type::kQ6_K},
    {"IQ4_NL", 25, Type::kIQ4_NL}, {"MXFP4_MOE", 38, Type::kMXFP4},
}};

enum class Category { kTokenEmbedding, kKey, kValue, kAttentionOutput, kFfnDown, kOutput, kOther };

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

Category category_of(std::string_view name) {
  if (name == "output.weight") return Category::kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return Category::kTokenEmbedding;
  constexpr std::pair<std::string_view, Category> kParts[] = {
      {"attn_qkv.weight", Category::kValue},  // fused, so it holds values
      {"attn_kv_b.weight", Category::kValue}, {"attn_v.weight", Category::kValue},
      {"attn_k.weight", Category::kKey},      {"attn_output.weight", Category::kAttentionOutput},
      {"ffn_down", Category::kFfnDown},
  };
  for (const auto& [part, category] : kParts)
    if (contains(name, part)) return category;
  return Category::kOther;
}

// Names of tensors that stay as they are: small, or worked with in fp32.
constexpr std::string_view kKept[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

bool may_quantise(const GgufTensorShape& tensor) {
  const auto first =
      std::find_if(tensor.shape.begin(), tensor.shape.end(), [](std::int64_t n) { return n > 1; });
  if (tensor.shape.end() - first < 2) return false;
  const std::string_view name = tensor.name;
  if (!name.ends_with("weight") || name == "position_embd.weight" || name == "token_types.weight")
    return false;
  return std::none_of(std::begin(kKept), std::end(kKept), [&](auto part) { return contains(name, part); });
}

// The first and the last eighth of the layers, and every third between.
bool gets_more_bits(int layer, int layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

int block_of(const std::string& name) {
  int block = -1;
  std::sscanf(name.c_str(), "blk.%d.", &block);
  return block;
}

Type fall_back(Type type, std::int64_t columns) {
  const auto divides = [&](Type t) {
    return static_cast<std::uint64_t>(columns) % ggml_block_elements(t) == 0;
  };
  if (divides(type)) return type;
  switch (type) {
    case Type::kQ2_K:
    case Type::kQ3_K:
      type = Type::kQ4_0;
      break;
    case Type::kQ4_K:
      type = Type::kQ5_0;
      break;
    case Type::kQ5_K:
      type = Type::kQ5_1;
      break;
    case Type::kQ6_K:
      type = Type::kQ8_0;
      break;
    default:
      break;
  }
  return divides(type) ? type : Type::kF16;
}

// Goes over the tensors in llama-quantize's order and counts, as it does, those that its rules have seen.
class Chooser {
 public:
  Chooser(const GgufFileType& file_type, const GgufModelFacts& model, bool has_imatrix,
          std::span<const GgufTensorShape> tensors)
      : name_(file_type.name), type_(file_type.type), model_(model), has_imatrix_(has_imatrix) {
    for (const auto& tensor : tensors) {
      const Category category = category_of(tensor.name);
      if (category == Category::kValue) ++values_;
      if (category == Category::kOutput) tied_ = false;
    }
  }

  Type choose(const GgufTensorShape& tensor) {
    const Category category = category_of(tensor.name);
    if (category == Category::kOutput || (tied_ && category == Category::kTokenEmbedding))
      return head(tensor);
    if (name_ == "MXFP4_MOE")
      return tensor.shape.size() > 2 && experts(tensor) > 1 ? Type::kMXFP4 : Type::kQ8_0;
    if (category == Category::kValue) return value();
    if (category == Category::kKey) return model_.expert_count == 8 ? Type::kQ8_0 : type_;
    if (category == Category::kFfnDown) return ffn_down(tensor.name);
    if (category == Category::kAttentionOutput) return attention_output();
    return type_;
  }

 private:
  bool is(std::initializer_list<std::string_view> names) const {
    return std::find(names.begin(), names.end(), name_) != names.end();
  }
  bool falcon() const { return model_.architecture == "falcon"; }
  int shared_heads() const { return model_.head_count_kv > 0 ? model_.head_count / model_.head_count_kv : 0; }
  static std::int64_t experts(const GgufTensorShape& tensor) { return tensor.shape[tensor.shape.size() - 3]; }

  // Llama 2's and its like: eight heads share a value, whose tensor is small.
  bool is_70b() const {
    const auto& a = model_.architecture;
    if (a == "llama") return model_.block_count == 80 && model_.head_count != model_.head_count_kv;
    return a == "jais2" ? model_.block_count == 68
                        : model_.block_count == 80 && (a == "qwen2" || a == "deci" || a == "olmo");
  }

  Type head(const GgufTensorShape& tensor) const {
    const auto columns = static_cast<std::uint64_t>(tensor.shape.back());
    if (name_ == "MXFP4_MOE" || falcon() || columns % ggml_block_elements(type_) != 0) return Type::kQ8_0;
    return type_ == Type::kQ8_0 ? type_ : Type::kQ6_K;
  }

  Type value() {
    const int layer = values_seen_++;
    if (model_.expert_count == 8) return Type::kQ8_0;
    Type type = type_;
    if (is({"Q2_K"})) type = shared_heads() >= 4 ? Type::kQ4_K : Type::kQ3_K;
    if (is({"Q2_K_S"}) && shared_heads() >= 4) type = Type::kQ4_K;
    if (is({"Q3_K_M"})) type = layer < 2 ? Type::kQ5_K : Type::kQ4_K;
    if (is({"Q3_K_L"})) type = Type::kQ5_K;
    if (is({"IQ4_NL"}) && shared_heads() >= 4) type = Type::kQ5_K;
    if (is({"Q4_K_M", "Q5_K_M"}) && gets_more_bits(layer, values_)) type = Type::kQ6_K;
    if (is({"Q4_K_S"}) && layer < 4) type = Type::kQ5_K;
    if (is_70b() && (type == Type::kQ3_K || type == Type::kQ4_K)) type = Type::kQ5_K;
    return type;
  }

  Type ffn_down(const std::string& tensor) {
    int layer = ffn_down_seen_++;
    const int layers = model_.block_count;
    if (model_.expert_count > 1) {  // a block may have several, so the name says which it is
      layer = block_of(tensor);
      if (layer < 0 || layer >= layers)
        throw Error(ErrorCode::kInvalidArgument, "GGUF_BLOCK", "stands in no block from 0 to block_count - 1",
                    tensor, "Name it blk.N.ffn_down..., or give the model's true block count.");
    }
    const bool first_eighth = layer < layers / 8, first_sixteenth = layer < layers / 16,
               more = gets_more_bits(layer, layers);
    if (is({"Q2_K"})) return Type::kQ3_K;
    if (is({"Q2_K_S"})) return first_eighth ? Type::kQ4_K : type_;
    if (is({"Q3_K_M"})) return first_sixteenth ? Type::kQ5_K : !falcon() || more ? Type::kQ4_K : Type::kQ3_K;
    if (is({"Q3_K_L"})) return falcon() ? Type::kQ4_K : Type::kQ5_K;
    if (is({"Q4_K_M"}) && falcon()) return first_sixteenth ? Type::kQ6_K : more ? Type::kQ5_K : Type::kQ4_K;
    if (is({"Q4_K_M", "Q5_K_M"})) return more ? Type::kQ6_K : type_;
    if (is({"IQ4_NL"})) return first_eighth && !has_imatrix_ ? Type::kQ5_K : type_;
    if (is({"Q4_K_S"})) return first_eighth && !falcon() ? Type::kQ5_K : type_;
    if (is({"Q4_0", "Q5_0"}) && has_imatrix_ &&
        first_eighth)  // a scale alone goes astray there with an imatrix
      return type_ == Type::kQ4_0 ? Type::kQ4_1 : Type::kQ5_1;
    return type_;
  }

  Type attention_output() const {
    if (falcon()) return is({"Q3_K_L"}) ? Type::kQ4_K : type_;
    if (model_.expert_count == 8)
      return is({"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL"}) ? Type::kQ5_K : type_;
    if (is({"Q2_K"})) return Type::kQ3_K;
    if (is({"Q3_K_M"})) return Type::kQ4_K;
    return is({"Q3_K_L"}) ? Type::kQ5_K : type_;
  }

  std::string_view name_;
  Type type_;
  const GgufModelFacts& model_;
  bool has_imatrix_, tied_ = true;
  int values_ = 0, values_seen_ = 0, ffn_down_seen_ = 0;
};

std::regex compiled(const std::string& pattern) {
  constexpr std::size_t kMaxPattern = 1024;
  try {
    if (pattern.size() <= kMaxPattern)  // in polynomial time, which rules back-references out
      return std::regex(pattern, std::regex::ECMAScript | std::regex_constants::__polynomial);
  } catch (const std::regex_error&) {
  }
  throw Error(ErrorCode::kInvalidArgument, "BAD_TENSOR_TYPE",
              "the pattern is no regular expression of at most 1024 bytes without back-references",
              pattern.substr(0, 100), "Write one as in ECMAScript: attn_v, or blk\\.(0|1)\\.ffn_down.");
}

std::vector<std::size_t> llama_order(std::span<const GgufTensorShape> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int block_a = block_of(tensors[a].name), block_b = block_of(tensors[b].name);
    return block_a != block_b ? block_a < block_b : tensors[a].name < tensors[b].name;
  });
  return order;
}

void check_imatrix(const GgufFileType& file_type, const GgufTensorShape& tensor, Type type,
                   bool has_imatrix) {
  const Category category = category_of(tensor.name);
  if (has_imatrix || file_type.name != "Q2_K_S" || type != Type::kQ2_K || category == Category::kOutput ||
      category == Category::kTokenEmbedding)
    return;
  throw Error(ErrorCode::kInvalidArgument, "IMATRIX_NEEDED", "Q2_K_S needs an importance matrix", tensor.name,
              "Give an imatrix, or take Q2_K.");
}

bool same_name(std::string_view given, std::string_view name) {
  return std::equal(given.begin(), given.end(), name.begin(), name.end(),
                    [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; });
}

}  // namespace

const GgufFileType& gguf_file_type(std::string_view name) {
  const bool family = same_name(name, "Q3_K") || same_name(name, "Q4_K") || same_name(name, "Q5_K");
  const std::string wanted = std::string(name) + (family ? "_M" : "");
  std::string known;
  for (const auto& type : kFileTypes) {
    if (same_name(wanted, type.name)) return type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  throw Error(ErrorCode::kInvalidArgument, "UNSUPPORTED_GGUF_FILE_TYPE",
              "'" + wanted.substr(0, 40) + "' is no GGUF file type that is supported", "",
              "One of: " + known + ".");
}

GgmlTypeOverride parse_ggml_type_override(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_TENSOR_TYPE", "is not PATTERN=TYPE",
                std::string(text.substr(0, 100)), "For instance attn_v=q6_K.");
  std::string pattern(text.substr(0, equals));
  std::transform(pattern.begin(), pattern.end(), pattern.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  (void)compiled(pattern);
  try {
    return {pattern, ggml_type_from_string(text.substr(equals + 1))};
  } catch (const Error& error) {
    throw Error(error.code(), "BAD_TENSOR_TYPE", error.message(), pattern, error.hint());
  }
}

bool names_tensor(const GgmlTypeOverride& override, const std::string& name) {
  return std::regex_search(name, compiled(override.pattern));
}

std::vector<GgmlType> choose_ggml_types(const GgufFileType& file_type, const GgufModelFacts& model,
                                        std::span<const GgufTensorShape> tensors, bool has_imatrix,
                                        std::span<const GgmlTypeOverride> overrides) {
  std::vector<std::regex> patterns;
  for (const auto& override : overrides) patterns.push_back(compiled(override.pattern));
  const auto overridden = [&](const std::string& name) {
    const auto fits = [&](const std::regex& pattern) { return std::regex_search(name, pattern); };
    return std::find_if(patterns.begin(), patterns.end(), fits) - patterns.begin();
  };
  const bool mixes = ggml_block_elements(file_type.type) > 1;
  Chooser chooser(file_type, model, has_imatrix, tensors);
  std::vector<GgmlType> types(tensors.size(), Type::kF32);
  for (const std::size_t i : llama_order(tensors)) {
    if (!may_quantise(tensors[i])) continue;
    const auto index = static_cast<std::size_t>(overridden(tensors[i].name));
    Type type = index < overrides.size() ? overrides[index].type
                : mixes                  ? chooser.choose(tensors[i])
                                         : file_type.type;
    types[i] = type = fall_back(type, tensors[i].shape.back());
    check_imatrix(file_type, tensors[i], type, has_imatrix);
  }
  return types;
}

}  // namespace wring

// llm-compressor 0.14: src/llmcompressor/modifiers and compressed-tensors' preset schemes, by their
// documented fields.
#include "recipe/modifiers.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace wring {
namespace {

struct Modifier {
  std::string name, path;
  Json fields;
  int line = 0;
};

[[noreturn]] void unsupported(const Source& source, const std::string& field, const std::string& message,
                              const std::string& hint = {}) {
  source.fail("UNSUPPORTED_MODIFIER", field, message, hint, ErrorCode::kUnimplemented);
}

Json field_of(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object.at(key) : Json();
}

template <typename Value>
Value value_of(const Json& object, const char* key, Value otherwise, const std::string& path,
               const Source& source) {
  const Json found = field_of(object, key);
  if (found.is_null()) return otherwise;
  try {
    return found.get<Value>();
  } catch (const Json::exception&) {
    source.fail("WRONG_TYPE", member(path, key), shown(found) + " is of another type");
  }
}

// A class that stands for all of them, as llm-compressor spells it.
Json targets_of(const Json& given) {
  Json list = given.is_string() ? Json::array({given}) : given;
  if (list.is_null()) return Json::array({"Linear"});
  if (list.is_array())
    for (auto& target : list)
      if (target == "__ALL__") target = "re:.*";
  return list;
}

// Pruners take modules, and with them the layers inside: "re:.*layers\\.\\d+$" means all of a block's.
Json with_inner_layers(Json targets) {
  if (!targets.is_array()) return targets;
  for (auto& target : targets)
    if (target.is_string() && target.get<std::string>().starts_with("re:") &&
        target.get<std::string>().ends_with("$")) {
      const auto pattern = target.get<std::string>();
      target = pattern.substr(0, pattern.size() - 1) + "([.].*)?$";
    }
  return targets;
}

Json ignored_of(const Json& fields) {
  const Json ignore = field_of(fields, "ignore");
  return ignore.is_null() ? Json::array() : ignore;
}

class Converter {
 public:
  explicit Converter(Source& source) : source_(source) {}

  void add(const Modifier& modifier, const Modifier* next) {
    const auto first = stages_.size();
    if (modifier.name == "GPTQModifier" || modifier.name == "QuantizationModifier")
      add_quantiser(modifier, modifier.name == "GPTQModifier");
    else if (modifier.name == "AWQModifier")
      add_awq(modifier, next);
    else if (modifier.name == "SparseGPTModifier" || modifier.name == "WandaPruningModifier")
      add_pruner(modifier);
    else
      unsupported(source_, modifier.path, modifier.name + " has no counterpart here",
                  "Known: GPTQModifier, QuantizationModifier, AWQModifier, SparseGPTModifier, "
                  "WandaPruningModifier.");
    for (auto i = first; i < stages_.size(); ++i)
      source_.lines["stages[" + std::to_string(i) + "]"] = modifier.line;
  }

  Json stages() const { return stages_; }

 private:
  // A group of a quantiser: what it is made of, and where it stands.
  struct Group {
    Json scheme, targets;
    std::string path;
  };

  static Json integers(int bits, std::int64_t group_size, bool symmetric) {
    return {{"num_bits", bits},
            {"type", "int"},
            {"symmetric", symmetric},
            {"strategy", group_size < 0 ? "channel" : "group"},
            {"group_size", group_size < 0 ? Json() : Json(group_size)}};
  }

  static Json dynamic(const char* type, const char* strategy) {
    return {{"num_bits", 8}, {"type", type}, {"symmetric", true}, {"strategy", strategy}, {"dynamic", true}};
  }

  Json preset(const std::string& given, const std::string& path) const {
    std::string name = given;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    const Json floats{{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "channel"}};
    if (name == "W4A16_ASYM") return {{"weights", integers(4, 128, false)}};
    if (name == "W8A8" || name == "INT8")
      return {{"weights", integers(8, -1, true)}, {"input_activations", dynamic("int", "token")}};
    if (name == "W4AFP8")
      return {{"weights", integers(4, 128, true)}, {"input_activations", dynamic("float", "token")}};
    if (name == "FP8") {
      Json whole = floats;
      whole["strategy"] = "tensor";
      return {{"weights", whole},
              {"input_activations",
               {{"num_bits", 8},
                {"type", "float"},
                {"symmetric", true},
                {"strategy", "tensor"},
                {"dynamic", false}}}};
    }
    if (name == "FP8_DYNAMIC") return {{"weights", floats}, {"input_activations", dynamic("float", "token")}};
    if (name == "FP8_BLOCK") {
      Json tiles = floats, inputs = dynamic("float", "group");
      tiles["strategy"] = "block";
      tiles["block_structure"] = {128, 128};
      inputs["group_size"] = 128;
      return {{"weights", tiles}, {"input_activations", inputs}};
    }
    if (name == "NVFP4A16" || name == "MXFP4A16") {
      Json nibbles{{"num_bits", 4}, {"type", "float"}, {"symmetric", true}};
      nibbles["strategy"] = name == "NVFP4A16" ? "tensor_group" : "group";
      nibbles["group_size"] = name == "NVFP4A16" ? 16 : 32;
      return {{"weights", nibbles}};
    }
    const std::string inputs = name.size() > 3 && name[0] == 'W' && name[2] == 'A' ? name.substr(3) : "";
    if ((inputs == "8" || inputs == "16") && name[1] >= '2' && name[1] <= '8') {
      Json scheme{{"weights", integers(name[1] - '0', 128, true)}};
      if (inputs == "8") scheme["input_activations"] = dynamic("int", "token");
      return scheme;
    }
    unsupported(
        source_, path, "the scheme " + shown(given) + " has no counterpart here",
        "Known: W2A16 to W8A16, W2A8 to W8A8, W4A16_ASYM, W4AFP8, FP8, FP8_DYNAMIC, FP8_BLOCK, NVFP4A16, "
        "MXFP4A16.");
  }

  std::vector<Group> groups_of(const Modifier& m) const {
    std::vector<Group> groups;
    const Json scheme = field_of(m.fields, "scheme"), config = field_of(m.fields, "config_groups");
    const std::string scheme_path = member(m.path, "scheme"), config_path = member(m.path, "config_groups");
    if (scheme.is_string())
      groups.push_back({preset(scheme, scheme_path), targets_of(field_of(m.fields, "targets")), scheme_path});
    if (scheme.is_object())
      for (const auto& [name, targets] : scheme.items())
        groups.push_back({preset(name, scheme_path), targets_of(targets), member(scheme_path, name)});
    if (config.is_object())
      for (const auto& [name, group] : config.items())
        groups.push_back({group, targets_of(field_of(group, "targets")), member(config_path, name)});
    for (const auto& group : groups) check_group(group);
    if (groups.empty())
      source_.fail("MISSING_PARAMETER", scheme_path, "a quantiser needs a scheme or config_groups",
                   "For instance scheme: W4A16.");
    return groups;
  }

  void check_group(const Group& group) const {
    static const std::vector<std::string> kArguments{
        "num_bits", "type",     "symmetric", "group_size",      "strategy",    "block_structure",
        "dynamic",  "actorder", "observer",  "observer_kwargs", "scale_dtype", "zp_dtype"};
    if (!group.scheme.is_object())
      source_.fail("WRONG_TYPE", group.path, shown(group.scheme) + " is no mapping");
    check_keys(group.scheme, {"targets", "weights", "input_activations", "output_activations", "format"},
               group.path, source_);
    for (const char* key : {"weights", "input_activations"})
      if (const Json given = field_of(group.scheme, key); given.is_object())
        check_keys(given, kArguments, member(group.path, key), source_);
  }

  // `what`: "weight" or "input", of the modifier's fields; "weights" or "input" under observer.
  bool asks_for_mse(const Json& fields, const Json& arguments, const std::string& what,
                    const std::string& path) const {
    const Json given = field_of(fields, "observer");
    if (!given.is_null() && !given.is_object())
      unsupported(source_, path, "the modifier's observer " + shown(given) + " is no mapping",
                  "For instance observer: {weights: mse, input: minmax}.");
    std::string observer = value_of<std::string>(fields, (what + "_observer").c_str(), "", path, source_);
    if (observer.empty())
      observer = value_of<std::string>(given, what == "weight" ? "weights" : "input", "", path, source_);
    if (observer.empty()) observer = value_of<std::string>(arguments, "observer", "", path, source_);
    std::transform(observer.begin(), observer.end(), observer.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const bool mse = observer.find("mse") != std::string::npos;
    if (!mse && !observer.empty() && observer.find("minmax") == std::string::npos)
      unsupported(source_, path, "the observer '" + observer + "' has no counterpart here",
                  "Known: minmax, mse.");
    return mse;
  }

  // bits, group_size, symmetric and scale_search of an integer grid.
  Json grid_of(const Modifier& m, const Group& group) const {
    const Json weights = field_of(group.scheme, "weights");
    const std::string path = member(group.path, "weights");
    const auto size = value_of<std::int64_t>(weights, "group_size", 0, path, source_);
    const auto strategy = value_of<std::string>(weights, "strategy",
                                                size > 0     ? "group"
                                                : size == -1 ? "channel"
                                                             : "tensor",
                                                path, source_);
    if (strategy != "group" && strategy != "channel")
      unsupported(source_, member(path, "strategy"),
                  "integers with a scale for each " + strategy + " have no counterpart here",
                  "Known: group, channel.");
    return {{"bits", value_of<int>(weights, "num_bits", 8, path, source_)},
            {"group_size", strategy == "group" && size > 0 ? size : -1},
            {"symmetric", value_of<bool>(weights, "symmetric", true, path, source_)},
            {"scale_search", asks_for_mse(m.fields, weights, "weight", path) ? "mse" : "minmax"}};
  }

  bool is_float(const Group& group) const {
    return value_of<std::string>(field_of(group.scheme, "weights"), "type", "int", group.path, source_) ==
           "float";
  }

  // What floats have no choice of.
  void check_floats(const Modifier& m, const Group& group) const {
    const Json weights = field_of(group.scheme, "weights");
    const std::string path = member(group.path, "weights");
    if (asks_for_mse(m.fields, weights, "weight", path) ||
        !value_of<bool>(weights, "symmetric", true, path, source_))
      unsupported(source_, path, "floats have the scale of their largest value here, and no zero point",
                  "Take the observer minmax, symmetric.");
  }

  Json tiles_of(const Group& group) const {
    const Json weights = field_of(group.scheme, "weights");
    const auto strategy = value_of<std::string>(weights, "strategy", "tensor", group.path, source_);
    const Json block = field_of(weights, "block_structure");
    const bool square = block.is_array() && block.size() == 2 && block[0] == block[1];
    if (value_of<int>(weights, "num_bits", 8, group.path, source_) != 8 ||
        (strategy != "channel" && strategy != "tensor" && !(strategy == "block" && square)))
      unsupported(
          source_, member(group.path, "weights"), "these floats have no counterpart here",
          "Known: 8 bits with a scale for the whole weight, for each channel, or for each square block.");
    return {{"block", strategy == "block" ? block[0] : Json(strategy == "tensor" ? 0 : -1)}};
  }

  // The method that makes a group's weights, with its parameters.
  std::pair<const char*, Json> method_of(const Modifier& m, const Group& group, bool gptq) const {
    if (!is_float(group)) return {gptq ? "gptq" : "rtn", grid_of(m, group)};
    check_floats(m, group);
    const Json weights = field_of(group.scheme, "weights");
    const auto size = value_of<std::int64_t>(weights, "group_size", 0, group.path, source_);
    const bool nibbles =
        value_of<int>(weights, "num_bits", 8, group.path, source_) == 4 && (size == 16 || size == 32);
    Json params = nibbles ? Json{{"format", size == 16 ? "nvfp4" : "mxfp4"}} : tiles_of(group);
    if (!gptq) return {nibbles ? "fp4" : "fp8", params};
    if (!nibbles) params["format"] = "fp8";
    return {"gptq-float", params};
  }

  void add_stage(const char* method, Json params, const Json& targets, const Json& ignore) {
    stages_.push_back(
        {{"method", method}, {"params", std::move(params)}, {"targets", targets}, {"ignore", ignore}});
  }

  void add_inputs(const Modifier& m, const Group& group) {
    const Json ignore = ignored_of(m.fields);
    const Json inputs = field_of(group.scheme, "input_activations");
    const std::string path = member(group.path, "input_activations");
    if (!field_of(group.scheme, "output_activations").is_null())
      unsupported(source_, member(group.path, "output_activations"), "outputs are not quantised here");
    if (inputs.is_null()) return;
    const bool dynamic = field_of(inputs, "dynamic") == Json(true);
    const bool symmetric = value_of<bool>(inputs, "symmetric", true, path, source_);
    const auto strategy =
        value_of<std::string>(inputs, "strategy", dynamic ? "token" : "tensor", path, source_);
    const bool known = dynamic ? symmetric && (strategy == "token" || strategy == "group")
                               : strategy == "tensor" && field_of(inputs, "dynamic") != Json("local");
    if (!known || value_of<int>(inputs, "num_bits", 8, path, source_) != 8)
      unsupported(source_, path, "these inputs have no counterpart here",
                  "Known: 8 bits, dynamic and symmetric with a scale for each token or group, or static with "
                  "one for all (strategy tensor).");
    if (strategy == "group" && !field_of(inputs, "group_size").is_number_integer())
      source_.fail("MISSING_PARAMETER", member(path, "group_size"), "the size of the groups is missing");
    const bool floats = value_of<std::string>(inputs, "type", "int", path, source_) == "float";
    if (!dynamic) {
      add_stage("static-inputs",
                {{"type", floats ? "float8_e4m3" : "int8"},
                 {"symmetric", symmetric},
                 {"range", asks_for_mse(m.fields, inputs, "input", path) ? "mse" : "minmax"}},
                group.targets, ignore);
      return;
    }
    add_stage("round-inputs",
              {{"type", floats ? "float8_e4m3" : "int8"},
               {"group_size",
                strategy == "group" ? value_of<std::int64_t>(inputs, "group_size", -1, path, source_) : -1}},
              group.targets, ignore);
  }

  void check_quantiser(const Modifier& m, std::vector<std::string> own) const {
    own.insert(own.end(), {"targets", "ignore", "scheme", "config_groups", "kv_cache_scheme",
                           "weight_observer", "input_observer", "output_observer", "observer",
                           "bypass_divisibility_checks", "sequential_targets", "sequential_update"});
    check_keys(m.fields, own, m.path, source_);
    if (!field_of(m.fields, "kv_cache_scheme").is_null())
      unsupported(source_, member(m.path, "kv_cache_scheme"), "key-value caches are not quantised here");
  }

  void add_quantiser(const Modifier& m, bool gptq) {
    check_quantiser(m, gptq ? std::vector<std::string>{"block_size", "dampening_frac", "actorder",
                                                       "batched_quantization", "offload_hessians"}
                            : std::vector<std::string>{});
    for (const auto& group : groups_of(m)) {
      auto [method, params] = method_of(m, group, gptq);
      if (gptq) {
        params["damping"] = value_of<double>(m.fields, "dampening_frac", 0.01, m.path, source_);
        params["activation_order"] = in_activation_order(m, group);
      }
      add_stage(method, params, group.targets, ignored_of(m.fields));
      add_inputs(m, group);
    }
  }

  // "static" where nothing is said, as there; "group" would need indices in the file, and is retired there
  // too.
  bool in_activation_order(const Modifier& m, const Group& group) const {
    Json order = m.fields.contains("actorder") ? m.fields.at("actorder") : Json("static");
    if (const Json own = field_of(field_of(group.scheme, "weights"), "actorder"); !own.is_null()) order = own;
    if (order.is_null() || order == false) return false;
    if (order == "static" || order == "weight") return true;
    unsupported(source_, member(m.path, "actorder"), "the order " + shown(order) + " has no counterpart here",
                "Known: static, weight, null.");
  }

  void add_awq(const Modifier& m, const Modifier* next) {
    check_quantiser(m, {"mappings", "offload_device", "duo_scaling", "n_grid", "max_chunk_memory"});
    if (!field_of(m.fields, "mappings").is_null())
      unsupported(source_, member(m.path, "mappings"), "mappings of one's own have no counterpart here");
    const bool alone =
        field_of(m.fields, "scheme").is_null() && field_of(m.fields, "config_groups").is_null();
    if (alone && !next)
      source_.fail("MISSING_PARAMETER", member(m.path, "scheme"),
                   "no quantiser follows whose grid this prepares");
    const Modifier& quantiser = alone ? *next : m;
    const auto groups = groups_of(quantiser);
    if (groups.size() != 1 || is_float(groups.front()))
      unsupported(source_, m.path, "AWQ prepares one group of integers here");
    Json params = grid_of(quantiser, groups.front());
    params["search_steps"] = value_of<int>(m.fields, "n_grid", 20, m.path, source_);
    add_stage("awq-scaling", params, Json::array({"Linear"}), ignored_of(quantiser.fields));
    if (alone) return;
    for (const auto& group : groups_of(m)) {
      add_stage("rtn", grid_of(m, group), group.targets, ignored_of(m.fields));
      add_inputs(m, group);
    }
  }

  void add_pruner(const Modifier& m) {
    const bool wanda = m.name == "WandaPruningModifier";
    std::vector<std::string> known{"sparsity", "sparsity_profile",   "mask_structure",
                                   "owl_m",    "owl_lmbda",          "targets",
                                   "ignore",   "sequential_targets", "sequential_update"};
    if (!wanda)
      known.insert(known.end(),
                   {"block_size", "dampening_frac", "preserve_sparsity_mask", "offload_hessians"});
    check_keys(m.fields, known, m.path, source_);
    for (const char* key : {"sparsity_profile", "preserve_sparsity_mask"})
      if (const Json given = field_of(m.fields, key); !given.is_null() && given != false)
        unsupported(source_, member(m.path, key), "this has no counterpart here");
    const auto mask = value_of<std::string>(m.fields, "mask_structure", "0:0", m.path, source_);
    const Json share = field_of(m.fields, "sparsity");
    if (mask == "0:0" && !share.is_number())
      source_.fail("MISSING_PARAMETER", member(m.path, "sparsity"), "a share of weights to prune is missing",
                   "For instance sparsity: 0.5.");
    Json params{{"pattern", mask == "0:0" ? share : Json(mask)}};
    if (!wanda) params["damping"] = value_of<double>(m.fields, "dampening_frac", 0.01, m.path, source_);
    add_stage(wanda ? "wanda" : "sparsegpt", params,
              with_inner_layers(targets_of(field_of(m.fields, "targets"))), ignored_of(m.fields));
  }

  Source& source_;
  Json stages_ = Json::array();
};

std::vector<Modifier> modifiers_of(const Json& json, const std::string& path, const Source& source) {
  std::vector<Modifier> all;
  for (const auto& [key, value] : json.items()) {
    const std::string inner = path.empty() ? key : member(path, key);
    const bool group = key.ends_with("_modifiers"), stage = path.empty() && key.ends_with("_stage");
    if (key == "run_type" || key == "args") continue;
    if ((!group && !stage) || !value.is_object())
      source.fail("UNKNOWN_KEY", inner, "is neither a stage nor a map of modifiers",
                  "llm-compressor's recipes have NAME_stage, in it NAME_modifiers, in it the modifiers.");
    if (stage) {
      const auto below = modifiers_of(value, inner, source);
      all.insert(all.end(), below.begin(), below.end());
      continue;
    }
    for (const auto& [name, fields] : value.items()) {
      const std::string own = member(inner, name);
      const auto line = source.lines.find(own);
      if (!fields.is_object() && !fields.is_null())
        source.fail("WRONG_TYPE", own, shown(fields) + " is no mapping");
      all.push_back({name, own, fields.is_null() ? Json::object() : fields,
                     line == source.lines.end() ? 0 : line->second});
    }
  }
  return all;
}

}  // namespace

bool is_modifier_recipe(const Json& json) {
  const auto holds = [](const Json& object) {
    return object.is_object() &&
           std::any_of(object.items().begin(), object.items().end(),
                       [](const auto& entry) { return entry.key().ends_with("_modifiers"); });
  };
  return holds(json) ||
         (json.is_object() && std::any_of(json.items().begin(), json.items().end(), [&](const auto& entry) {
            return entry.key().ends_with("_stage") && holds(entry.value());
          }));
}

Json stages_of_modifiers(const Json& json, Source& source) {
  auto modifiers = modifiers_of(json, "", source);
  std::stable_sort(modifiers.begin(), modifiers.end(),
                   [](const Modifier& a, const Modifier& b) { return a.line < b.line; });
  Converter converter(source);
  for (std::size_t i = 0; i < modifiers.size(); ++i) {
    const Modifier* next = i + 1 < modifiers.size() ? &modifiers[i + 1] : nullptr;
    if (next && next->line == modifiers[i].line)
      source.fail("MALFORMED_RECIPE", next->path, "which of two modifiers on one line comes first is unknown",
                  "Give each a line of its own.");
    converter.add(modifiers[i], next);
  }
  return {{"stages", converter.stages()}};
}

}  // namespace wring

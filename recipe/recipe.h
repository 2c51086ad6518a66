// Recipes: YAML or one line, validated against the catalogue, in a normal form that has a digest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/digest.h"
#include "common/json.h"
#include "recipe/spec.h"

namespace wring {

// One method run. `params` holds every parameter of the spec, defaults filled in.
struct StageSpec {
  // Whether it compresses the layer of that name and class.
  bool takes(const std::string& layer_name, const std::string& layer_class) const;

  std::string method;
  std::uint32_t version = 1;
  Json params = Json::object();
  std::vector<std::string>
      targets;  // layer names, class names ("Linear", "Embedding") or "re:PATTERN"; default ["Linear"]
  std::vector<std::string> ignore;  // the same; default ["lm_head"]
  bool operator==(const StageSpec&) const = default;
};

struct EvaluationSpec {
  std::string suite;
  std::uint32_t version = 1;
  Json params = Json::object();
  std::vector<std::string>
      when;  // "before", "after", "each" (after every stage); default ["before", "after"]
  bool operator==(const EvaluationSpec&) const = default;
};

// A format that a model is exported to.
struct ExportSpec {
  std::string format;
  std::uint32_t version = 1;
  Json params = Json::object();
};

struct Recipe {
  std::string name;
  std::vector<StageSpec> stages;  // may be empty where there are evaluations (evaluate-only)
  std::vector<EvaluationSpec> evaluations;
  std::vector<ExportSpec> exports;  // of the result; of the input where there are no stages

  // {"evaluations":[{params,suite,version,when}],"name":..,"stages":[{ignore,method,params,targets,version}],"version":1},
  // and "exports":[{format,params,version}] where there are some
  Json normal_form() const;
  Digest digest() const;  // recipe_digest() of it
  // Names of the data inputs it uses ("calibration", "test"), sorted: values of `data` parameters.
  std::vector<std::string> data_names() const;
  // Whether the evaluation runs "before" the stages, "after" them, or after the one of this index.
  bool is_due(const EvaluationSpec& evaluation, const std::string& when) const;
};

// Parses and validates. `text` is YAML with `stages:` (and name, evaluations), a recipe of llm-compressor
// (recipe/modifiers.h), or one line such as
// "gptq(bits=4, group_size=64)" or several joined by " | ". At most 1 MiB, no YAML anchors or aliases,
// nesting at most 32. Throws Error(kInvalidArgument) with reason UNKNOWN_KEY, UNKNOWN_METHOD, UNKNOWN_SUITE,
// UNKNOWN_PARAMETER, WRONG_TYPE, OUT_OF_RANGE, MISSING_PARAMETER, BAD_PATTERN (a `re:` that does not compile)
// or MALFORMED_RECIPE; field is the path
// ("stages[1].params.group_size"), the message names value and allowed range, the hint the nearest known name
// and the line.
Recipe parse_recipe(std::string_view text, const Catalogue& catalogue = Catalogue::embedded());

// The recipe as it is written, with each stage, evaluation and export as a mapping that has `params`;
// defaults are left out and nothing else is checked: parse_recipe() takes its dump(). For who alters a
// recipe.
Json recipe_tree(std::string_view text, const Catalogue& catalogue = Catalogue::embedded());
// The same of a recipe that is a mapping already.
Json expanded_recipe(Json recipe);

// The same from a normal form (its versions must be the catalogue's: FAILED_PRECONDITION "METHOD_VERSION").
Recipe recipe_from_normal_form(const Json& json, const Catalogue& catalogue = Catalogue::embedded());

// One stage as it stands in a recipe's list, and its normal form. `source` is where it came from.
struct Source;
StageSpec parse_stage(const Json& given, const std::string& field, const Catalogue& catalogue,
                      const Source& source);
Json stage_json(const StageSpec& stage);

// Of a recipe's normal form without the name, which says nothing of what it makes.
Digest recipe_digest(Json normal_form);

// One format, "compressed-tensors" or "huggingface(dtype=float16)". Throws as parse_recipe() does, or
// UNKNOWN_FORMAT; fields begin with "to".
ExportSpec parse_export(std::string_view text, const Catalogue& catalogue = Catalogue::embedded());

// Throws Error(kInvalidArgument, "NOT_IN_A_JOB") where an export reads a file of the machine that it is made
// on: a job has its inputs alone.
void check_reads_no_file(const Recipe& recipe);

// Whether `pattern` (a name, a class name, or re:PATTERN matched at the start of the name, as Python's
// re.match) names the layer.
bool pattern_matches(const std::string& pattern, const std::string& layer_name,
                     const std::string& layer_class);

// Whether `name` may name a data input: 1 to 64 letters, digits, dashes, underscores.
bool is_data_name(const std::string& name);

// Share of weights to zero (0.5), or N of M neighbours kept as the field writes it ("2:4": 2 of 4 are zero).
struct SparsityPattern {
  double share = 0;  // for unstructured
  int n = 0, m = 0;  // zeros n in every m, where m > 0
  static SparsityPattern parse(const Json& value, const std::string& field);
};

}  // namespace wring

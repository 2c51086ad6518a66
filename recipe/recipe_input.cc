// Telling a recipe file from a recipe in one line; JSON is YAML.
#include "recipe/recipe_input.h"

#include <algorithm>
#include <filesystem>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "common/text.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& text) {
  std::error_code ignored;
  return text.size() < 4096 && text.find('\n') == std::string::npos && fs::is_regular_file(text, ignored);
}

bool looks_like_a_path(const std::string& text) {
  const auto ends = [&](const char* ending) { return text.ends_with(ending); };
  return text.find('(') == std::string::npos && text.find('\n') == std::string::npos &&
         text.find(": ") == std::string::npos &&
         (text.find('/') != std::string::npos || ends(".yaml") || ends(".yml") || ends(".json"));
}

// The value of a parameter as its spec types it; validation says the rest.
Json typed(const std::string& text) {
  auto json = Json::parse(text, nullptr, false);
  return json.is_discarded() || json.is_structured() ? Json(text) : json;
}

}  // namespace

std::string read_recipe(const std::string& recipe_or_file) {
  if (is_file(recipe_or_file)) {
    std::string text = read_file(recipe_or_file, 1u << 20);
    check_text(text, "recipe");
    return text;
  }
  if (looks_like_a_path(recipe_or_file))
    throw Error(ErrorCode::kNotFound, "NO_SUCH_RECIPE", "there is no file " + recipe_or_file, "recipe",
                "A recipe is a YAML file or one line such as 'gptq(bits=4, group_size=64)'.");
  return recipe_or_file;
}

std::string recipe_label(const std::string& recipe_or_file) {
  if (is_file(recipe_or_file)) return fs::path(recipe_or_file).stem().string();
  return recipe_or_file.substr(0, std::min<std::size_t>(60, recipe_or_file.find('\n')));
}

void check_data_name(const std::string& name, const std::vector<std::string>& known,
                     const std::string& field) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_DATA",
              "the recipe reads no data '" + name.substr(0, 80) + "'", field,
              known.empty() ? "It reads none." : "It reads: " + join(known, ", ") + ".");
}

void check_data_is_there(const std::vector<std::string>& known,
                         const std::function<bool(const std::string&)>& handed_in, const std::string& field) {
  for (const auto& name : known)
    if (!handed_in(name))
      throw Error(ErrorCode::kInvalidArgument, "MISSING_DATA",
                  "the recipe reads data '" + name + "', which was not handed in", field + "." + name,
                  "Add --data " + name + "=PATH.");
}

bool is_usual_data(const std::string& name) {
  return name == "calibration" || name == "train" || name == "test";
}

std::string evaluation_recipe(const std::string& suite, const std::vector<std::string>& parameters) {
  Json params = Json::object();
  for (const auto& text : parameters) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error(ErrorCode::kInvalidArgument, "BAD_PARAMETER", "'" + text + "' is not NAME=VALUE",
                  "--param");
    params[text.substr(0, equals)] = typed(text.substr(equals + 1));
  }
  const Json evaluation{{"suite", suite}, {"params", params}, {"when", {"before"}}};
  return Json{{"stages", Json::array()}, {"evaluations", {evaluation}}}.dump();
}

}  // namespace wring

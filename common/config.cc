// Reading the YAML file through the options' own validation.
#include "common/config.h"

#include <yaml-cpp/yaml.h>

#include "common/error.h"
#include "common/files.h"
#include "common/text.h"

namespace wring {
namespace {

std::vector<std::string> keys_of(const CLI::App& app) {
  std::vector<std::string> keys;
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames())
      if (name != "help" && name != "version" && name != "config") keys.push_back(name);
  return keys;
}

YAML::Node load(const std::filesystem::path& file) {
  try {
    return YAML::Load(read_file(file, 1 << 20));
  } catch (const YAML::Exception& error) {
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_CONFIG", file.string() + ": " + error.what(),
                "--config");
  }
}

}  // namespace

void apply_config(CLI::App& app, const std::filesystem::path& file) {
  const auto yaml = load(file);
  if (!yaml.IsMap() && !yaml.IsNull())
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_CONFIG",
                file.string() + " is no list of KEY: VALUE lines", "--config");
  const auto keys = keys_of(app);
  for (const auto& entry : yaml) {
    const std::string where = file.string() + ":" + std::to_string(entry.first.Mark().line + 1);
    if (!entry.first.IsScalar())
      throw Error(ErrorCode::kInvalidArgument, "MALFORMED_CONFIG", "a key is no word (" + where + ")",
                  "--config");
    const auto& key = entry.first.Scalar();
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const auto nearest = nearest_name(key, keys);
      throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_KEY", "there is no such option (" + where + ")", key,
                  nearest.empty() ? "Known: " + join(keys, ", ") + "." : "Do you mean '" + nearest + "'?");
    }
    if (!entry.second.IsScalar())
      throw Error(ErrorCode::kInvalidArgument, "WRONG_TYPE", "one value is expected (" + where + ")", key);
    auto* const option = app.get_option("--" + key);
    if (option->count() > 0) continue;
    try {
      option->add_result(entry.second.Scalar());
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw Error(ErrorCode::kInvalidArgument, "WRONG_TYPE", std::string(error.what()) + " (" + where + ")",
                  key);
    }
  }
}

}  // namespace wring

// Reading the client's configuration.
#include "client/config.h"

#include <yaml-cpp/yaml.h>

#include <cstdlib>

#include "common/address.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

fs::path home_folder(const Environment& environment, const char* xdg, const char* below_home) {
  if (const auto folder = environment(xdg); folder && !folder->empty()) return fs::path(*folder) / "wring";
  const auto home = environment("HOME");
  return fs::path(home && !home->empty() ? *home : "/") / below_home / "wring";
}

[[noreturn]] void throw_config(const fs::path& path, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_CLIENT_CONFIG", path.string() + ": " + what, "",
              "It may hold `server: HOST:PORT`, `token: TEXT` and `ca: FILE`.");
}

ClientFlags read_config_file(const fs::path& path) {
  ClientFlags config;
  if (!fs::exists(path)) return config;
  try {
    const auto root = YAML::Load(read_file(path, 1u << 20));
    if (root.IsNull()) return config;
    if (!root.IsMap()) throw_config(path, "is no map of keys");
    for (const auto& entry : root) {
      const auto key = entry.first.as<std::string>();
      if (key == "server")
        config.server = entry.second.as<std::string>();
      else if (key == "token")
        config.token = entry.second.as<std::string>();
      else if (key == "ca")
        config.ca = (path.parent_path() / entry.second.as<std::string>()).string();
      else
        throw_config(path, "unknown key '" + key + "'");
    }
  } catch (const YAML::Exception& e) {
    throw_config(path, e.what());
  }
  return config;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

fs::path client_config_path(const Environment& environment) {
  return home_folder(environment, "XDG_CONFIG_HOME", ".config") / "client.yaml";
}

fs::path default_data_dir(const Environment& environment) {
  return home_folder(environment, "XDG_DATA_HOME", ".local/share");
}

std::optional<Endpoints> read_endpoints(const fs::path& data_dir) {
  const auto path = data_dir / "endpoints.json";
  if (!fs::exists(path)) return std::nullopt;
  const auto what = path.string();
  const auto json = parse_json(read_file(path, 1u << 16), what);
  return Endpoints{json_at<std::string>(json, "grpc", what), json_or<std::string>(json, "http", "", what)};
}

ClientConfig client_config(const ClientFlags& flags, const Environment& environment) {
  const auto path = client_config_path(environment);
  const auto file = read_config_file(path);
  ClientConfig config;
  const auto offer = [&](const std::string& value, const std::string& source) {
    if (!config.server.empty() || value.empty()) return;
    config.server = value;
    config.source = source;
  };
  offer(flags.server, "--server");
  offer(environment("WRING_SERVER").value_or(""), "WRING_SERVER");
  offer(file.server, path.string());
  if (config.server.empty())
    if (const auto endpoints = read_endpoints(default_data_dir(environment)))
      offer(endpoints->grpc, (default_data_dir(environment) / "endpoints.json").string());
  if (!config.server.empty()) (void)parse_address(config.server, config.source);
  const auto first = [&](const std::string& flag, const char* variable, const std::string& in_file) {
    return flag.empty() ? environment(variable).value_or(in_file) : flag;
  };
  config.token = first(flags.token, "WRING_TOKEN", file.token);
  config.ca = first(flags.ca, "WRING_CA", file.ca);
  return config;
}

}  // namespace wring

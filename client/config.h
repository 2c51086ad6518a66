// Where the client finds its server: flag, environment, config file, or the service that `wring up` runs
// here.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace wring {

struct ClientConfig {
  std::string server;  // HOST:PORT; empty: none known
  std::string token;   // sent as "authorization: Bearer TOKEN"; empty: none
  std::string source;  // where `server` came from, for messages
  std::string ca;  // PEM file of the authority that has signed the server's certificate; empty: plain text
};

// The environment, replaceable in tests.
using Environment = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_environment(const char* name);

// $XDG_CONFIG_HOME/wring/client.yaml, by default ~/.config/wring/client.yaml.
std::filesystem::path client_config_path(const Environment& environment = process_environment);

// $XDG_DATA_HOME/wring, by default ~/.local/share/wring: the data folder of `wring up`.
std::filesystem::path default_data_dir(const Environment& environment = process_environment);

// Addresses of a server, as it writes them to DATA/endpoints.json once it is ready.
struct Endpoints {
  std::string grpc;  // HOST:PORT
  std::string http;  // HOST:PORT; empty: none
};
// nullopt where there is no such file. Throws Error(kInvalidArgument) where it is malformed.
std::optional<Endpoints> read_endpoints(const std::filesystem::path& data_dir);

// The first that is set of: the flags, WRING_SERVER / WRING_TOKEN / WRING_CA, the config file (whose `ca` is
// relative to its folder), and for the server DATA/endpoints.json of the default data folder. Throws
// Error(kInvalidArgument, "BAD_CLIENT_CONFIG") that names the key, "BAD_ADDRESS" where the server is none.
struct ClientFlags {
  std::string server, token, ca;
};
ClientConfig client_config(const ClientFlags& flags, const Environment& environment = process_environment);

}  // namespace wring

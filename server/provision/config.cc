// The keys of the provisioner's file, each checked.
#include "server/provision/config.h"

#include <algorithm>
#include <cmath>

#include "common/address.h"
#include "common/error.h"
#include "common/files.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/check.h"
#include "recipe/worker_class.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

const std::vector<std::string> kKeys{"partition",    "account",       "qos",          "gres",   "cpus",
                                     "memory",       "time_limit",    "notice",       "min",    "max",
                                     "idle_seconds", "start_seconds", "poll_seconds", "server", "tls",
                                     "token_file",   "cache",         "cache_bytes",  "logs",   "worker",
                                     "sbatch",       "class"};

// Of sbatch, those that say where a job may run and what it costs. The others are the provisioner's own, or
// would make a batch job something else than one worker.
const std::vector<std::string> kAllowed{
    "begin",         "bb",        "bbf",         "cluster-constraint", "comment-file",
    "constraint",    "container", "core-spec",   "cpu-freq",           "deadline",
    "delay-boot",    "exclude",   "exclusive",   "gpu-bind",           "gpu-freq",
    "hint",          "licenses",  "mail-type",   "mail-user",          "mem-bind",
    "mincpus",       "network",   "nice",        "nodefile",           "nodelist",
    "oversubscribe", "power",     "prefer",      "priority",           "profile",
    "reservation",   "switches",  "thread-spec", "threads-per-core",   "tmp",
    "use-min-nodes", "wckey"};

// One mapping whose values are taken one by one.
class Reader {
 public:
  Reader(const Json& json, const Source& source) : json_(json), source_(source) {}

  std::string text(const char* key) const { return string_or_empty(json_, key, "", source_); }
  // A quantity with its unit, or a plain number.
  std::string quantity(const char* key, const std::string& fallback) const {
    if (!json_.contains(key)) return fallback;
    const Json& value = json_.at(key);
    if (!value.is_string() && !value.is_number())
      source_.fail("WRONG_TYPE", key, shown(value) + " is no quantity", "For instance 8GB, or 4h.");
    return value.is_string() ? value.get<std::string>() : value.dump();
  }
  std::uint64_t bytes(const char* key, const std::string& fallback, std::uint64_t least) const {
    const auto value = parse_bytes(quantity(key, fallback), key);
    if (value < least) source_.fail("OUT_OF_RANGE", key, "it must be at least " + human_bytes(least));
    return value;
  }
  double seconds(const char* key, const std::string& fallback, double least, double most) const {
    const auto given = quantity(key, fallback);
    const double value = parse_seconds(given, key);
    if (!(value >= least && value <= most))
      source_.fail("OUT_OF_RANGE", key,
                   given + " is not allowed; allowed: " + Json(least).dump() + " to " + Json(most).dump() +
                       " seconds");
    return value;
  }
  std::uint32_t whole(const char* key, std::uint32_t fallback, std::uint32_t least,
                      std::uint32_t most) const {
    if (!json_.contains(key)) return fallback;
    const Json& value = json_.at(key);
    if (!value.is_number_integer() || value.get<double>() < least || value.get<double>() > most)
      source_.fail("OUT_OF_RANGE", key,
                   shown(value) + " is not allowed; allowed: " + std::to_string(least) + " to " +
                       std::to_string(most));
    return value.get<std::uint32_t>();
  }
  std::filesystem::path path(const char* key) const {
    const auto value = text(key);
    if (!value.empty() && (value[0] != '/' || value.find('%') != std::string::npos))
      source_.fail("BAD_PATH", key, "'" + value.substr(0, 200) + "' is no absolute path without %",
                   "The compute nodes must find it, from any folder.");
    return value;
  }
  std::vector<std::string> list(const char* key) const {
    if (!json_.contains(key)) return {};
    const Json value = json_.at(key).is_string() ? Json::array({json_.at(key)}) : json_.at(key);
    const auto is_text = [](const Json& entry) {
      return entry.is_string() && !entry.get<std::string>().empty();
    };
    if (!value.is_array() || value.size() > 100 || !std::all_of(value.begin(), value.end(), is_text))
      source_.fail("WRONG_TYPE", key, shown(value) + " is no list of at most 100 strings",
                   "Quote each of them.");
    return value.get<std::vector<std::string>>();
  }
  void require(const char* key, const char* hint) const {
    if (!json_.contains(key)) source_.fail("MISSING_PARAMETER", key, "it is missing", hint);
  }

 private:
  const Json& json_;
  const Source& source_;
};

void check_sbatch(const std::vector<std::string>& arguments, const Source& source) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    const auto name = argument.substr(0, argument.find('='));
    const bool dashes = name.starts_with("--");
    const auto bare = dashes ? name.substr(2) : name;
    if (dashes && std::find(kAllowed.begin(), kAllowed.end(), bare) != kAllowed.end()) continue;
    const auto key = bare == "time"            ? "time_limit"
                     : bare == "mem"           ? "memory"
                     : bare == "cpus-per-task" ? "cpus"
                                               : bare;
    const bool is_key = std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
    const auto nearest = nearest_name(bare, kAllowed);
    source.fail("BAD_ARGUMENT", "sbatch[" + std::to_string(i) + "]",
                "'" + argument.substr(0, 80) + "' may not stand here",
                is_key            ? "It is a key of this file: " + key + "."
                : nearest.empty() ? "Allowed, as --NAME=VALUE: " + join(kAllowed, ", ") + "."
                                  : "Do you mean --" + nearest + "=VALUE?");
  }
}

ProvisionConfig read(const Json& json, const Source& source) {
  if (!json.is_object())
    source.fail("MALFORMED_CONFIG", "--provision-config", "it is no list of KEY: VALUE lines");
  check_keys(json, kKeys, "", source);
  const Reader reader(json, source);
  reader.require("memory", "What a worker may use with its engine, for instance memory: 16GB.");
  reader.require("max", "How many workers there may be at a time, for instance max: 8.");
  reader.require("cache", "A folder of the compute nodes' own disks, for instance cache: /scratch/wring.");
  ProvisionConfig config;
  config.partition = reader.text("partition");
  config.account = reader.text("account");
  config.qos = reader.text("qos");
  config.gres = reader.text("gres");
  config.cpus = reader.whole("cpus", 1, 1, 4096);
  config.memory_bytes = reader.bytes("memory", "", 256u << 20);
  config.time_limit_seconds = reader.seconds("time_limit", "1h", 60, 366 * 86'400.0);
  config.notice_seconds = reader.seconds("notice", "120", 10, 3600);
  config.pool.max = reader.whole("max", 1, 1, 100'000);
  config.pool.min = reader.whole("min", 0, 0, static_cast<std::uint32_t>(config.pool.max));
  config.poll_seconds = reader.seconds("poll_seconds", "5", 0.5, 300);
  config.pool.idle_ms = static_cast<TimeMs>(
      1000 * reader.seconds("idle_seconds", "60", std::ceil(2 * config.poll_seconds), 86'400));
  config.pool.start_ms = static_cast<TimeMs>(1000 * reader.seconds("start_seconds", "300", 30, 86'400));
  config.server = reader.text("server");
  if (!config.server.empty()) parse_address(config.server, "server");
  config.tls = reader.path("tls");
  config.token_file = reader.path("token_file");
  config.cache = reader.path("cache");
  config.cache_bytes = reader.bytes("cache_bytes", "50GB", 1'000'000);
  config.logs = reader.path("logs");
  config.worker = reader.list("worker");
  config.sbatch = reader.list("sbatch");
  check_sbatch(config.sbatch, source);
  config.classes = reader.list("class");
  for (const auto& name : config.classes) check_worker_class(name, "class");
  if (config.notice_seconds * 2 > config.time_limit_seconds)
    source.fail("OUT_OF_RANGE", "notice", "it is more than half of time_limit");
  return config;
}

}  // namespace

ProvisionConfig parse_provision_config(const std::string& yaml) {
  try {
    const auto document = parse_yaml(yaml, "--provision-config");
    return read(document.value, Source{"provision", document.lines});
  } catch (const Error& e) {
    if (e.reason() != "MALFORMED_RECIPE") throw;
    throw Error(e.code(), "MALFORMED_CONFIG", e.message(), e.field(), e.hint());
  }
}

ProvisionConfig read_provision_config(const std::filesystem::path& file) {
  if (file.empty())
    throw Error(ErrorCode::kInvalidArgument, "MISSING_OPTION", "must be given with --provision",
                "--provision-config", "deploy/slurm/provision.yaml is an example.");
  try {
    return parse_provision_config(read_file(file, 1u << 20));
  } catch (const Error& error) {
    throw of_provision(error);
  }
}

Error of_provision(const Error& error) {
  const bool is_key = !error.field().empty() && !error.field().starts_with("--");
  return Error(error.code(), error.reason(), error.message(), (is_key ? "provision." : "") + error.field(),
               error.hint());
}

}  // namespace wring

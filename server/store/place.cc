// What DATA/database.yaml says, key by key.
#include "server/store/place.h"

#include <libpq-fe.h>

#include <string>

#include "common/error.h"
#include "common/files.h"
#include "recipe/check.h"
#include "recipe/yaml.h"
#include "server/store/postgres/database.h"
#include "server/store/sqlite/connection.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFile = "database.yaml";

PostgresPlace read_place(const Json& json, const Source& source) {
  check_keys(json, {"postgresql", "lease_seconds"}, "", source);
  PostgresPlace place;
  place.url = string_or_empty(json, "postgresql", "", source);
  PQconninfoOption* const options = PQconninfoParse(place.url.c_str(), nullptr);
  PQconninfoFree(options);
  if (place.url.empty() || !options)
    source.fail(
        "BAD_URL", "postgresql",
        place.url.empty() ? "it names no database" : "this is no address of a database",
        "For instance postgresql://wring@db.example.org/wring?sslmode=verify-full; what is special in a "
        "password is written as %25.");
  place.lease = std::chrono::seconds(whole_of(json, "lease_seconds", 5, 1, 60, "", source));
  return place;
}

}  // namespace

bool is_on_postgresql(const fs::path& data) {
  return fs::exists(data / kFile);
}

std::unique_ptr<Database> open_database(const fs::path& data) {
  if (!is_on_postgresql(data)) return std::make_unique<SqliteDatabase>(data / kDatabase);
  const auto file = data / kFile;
  // What the file knows of the folder's blobs another database would not know, and delete them.
  if (fs::exists(data / kDatabase))
    throw Error(ErrorCode::kFailedPrecondition, "TWO_DATABASES",
                data.string() + " has " + kDatabase + " and " + kFile +
                    ": which of them its blobs belong to is not clear",
                "data", "Give PostgreSQL a data folder of its own.");
  try {
    const auto document = parse_yaml(read_file(file, 1u << 20), kFile);
    return std::make_unique<PostgresDatabase>(read_place(document.value, Source{kFile, document.lines}));
  } catch (const Error& error) {
    const auto* const reason =
        error.reason() == "MALFORMED_RECIPE" ? "MALFORMED_CONFIG" : error.reason().c_str();
    throw Error(error.code(), reason, error.message(),
                file.string() + (error.field().empty() ? "" : ": " + error.field()), error.hint());
  }
}

void check_on_sqlite(const fs::path& data, const char* verb, const char* instead) {
  if (is_on_postgresql(data))
    throw Error(ErrorCode::kFailedPrecondition, "ON_POSTGRESQL",
                std::string(verb) + " is of a database in the data folder; this one is on PostgreSQL", "data",
                instead);
}

}  // namespace wring

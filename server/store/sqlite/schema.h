// The schema of the job database on SQLite, as numbered migrations.
#pragma once

#include <cstddef>

#include "server/store/sqlite/connection.h"

namespace wring {

// Brings `database` to the newest schema, each migration in a transaction of its own. Throws
// Error(kFailedPrecondition, "NEWER_SCHEMA") where it is already past it.
void migrate(SqliteConnection& database);

std::size_t newest_schema();
// As migrate(), to an earlier schema: what an older release would have left.
void migrate_to(std::size_t schema, SqliteConnection& database);

}  // namespace wring

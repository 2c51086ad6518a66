// The schema of the job database, as numbered migrations.
#pragma once

#include <sqlite3.h>

#include <cstddef>

namespace wring {

// Brings `database` to the newest schema, each migration in a transaction of its own. Throws
// Error(kFailedPrecondition, "NEWER_SCHEMA") where it is already past it.
void migrate(sqlite3* database);

std::size_t newest_schema();
// As migrate(), to an earlier schema: what an older release would have left.
void migrate_to(std::size_t schema, sqlite3* database);

}  // namespace wring

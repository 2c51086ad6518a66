// The schema of the job database, as numbered migrations.
#pragma once

#include <sqlite3.h>

namespace wring {

// Brings `database` to the newest schema, each migration in a transaction of its own. Throws
// Error(kFailedPrecondition, "NEWER_SCHEMA") where it is already past it.
void migrate(sqlite3* database);

}  // namespace wring

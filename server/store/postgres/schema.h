// The schema of the job database on PostgreSQL, as numbered migrations.
#pragma once

#include <cstddef>

#include "server/store/postgres/connection.h"

namespace wring {

// As SQLite's: the same numbers stand for the same tables and columns.
void migrate(PostgresConnection& connection);

}  // namespace wring

// The models that jobs were given, as a column of theirs.
#pragma once

#include <cstddef>

#include "server/store/connection.h"

namespace wring {

// The first schema whose jobs have the column `model`.
inline constexpr std::size_t kSchemaOfModels = 11;

// Sets it for the jobs of earlier schemas, whose specs alone name their models. Within the caller's
// transaction.
void put_models(Connection& db);

}  // namespace wring

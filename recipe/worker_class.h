// The name of a kind of worker that a job can ask for.
#pragma once

#include <string>

#include "common/error.h"
#include "common/short_name.h"

namespace wring {

// Throws Error(kInvalidArgument, "BAD_WORKER_CLASS") naming `field` where no class can have this name.
inline void check_worker_class(const std::string& name, const std::string& field) {
  if (!is_short_name(name))
    throw Error(ErrorCode::kInvalidArgument, "BAD_WORKER_CLASS",
                "'" + name.substr(0, 80) + "' cannot be the name of a class of workers", field,
                "1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit.");
}

}  // namespace wring

// What an exception of the engine's libraries means.
#pragma once

#include "common/error.h"

namespace wring {

// current_error(), with libtorch's failed allocations (kResourceExhausted, "OUT_OF_MEMORY", naming the
// device) told apart. Call it in a catch block.
Error current_engine_error();

}  // namespace wring

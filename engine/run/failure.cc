// libtorch throws an OutOfMemoryError of its own for accelerators, and a plain error from its CPU allocator.
#include "engine/run/failure.h"

#include <c10/util/Exception.h>

#include <string_view>

namespace wring {
namespace {

Error out_of_memory(const char* where, const char* fix) {
  return Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY", std::string(where) + " is out of memory", "",
               fix);
}

}  // namespace

Error current_engine_error() {
  try {
    throw;
  } catch (const c10::OutOfMemoryError&) {
    return out_of_memory("the device",
                         "Take a smaller batch, window or calibration sequence, or another device.");
  } catch (const c10::Error& error) {
    if (std::string_view(error.what_without_backtrace()).find("can't allocate memory") !=
        std::string_view::npos)
      return out_of_memory("the engine",
                           "Give the job more memory, or take a smaller model, window or calibration set.");
    return Error(ErrorCode::kInternal, "INTERNAL", error.what_without_backtrace());
  } catch (...) {
    return current_error();
  }
}

}  // namespace wring

// What the fuzz targets share: an input as a file, and the one outcome that bad input may have.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/files.h"
#include "formats/file_tree.h"

namespace wring::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The input as a file of one piece, in memory. The mapping outlives the descriptor.
inline FileView view_of(const std::uint8_t* data, std::size_t size) {
  const FileDescriptor fd(memfd_create("input", MFD_CLOEXEC));
  if (!fd) std::abort();
  write_all(fd.get(), std::as_bytes(std::span(data, size)), "input");
  const auto mapped = MappedFile::open("/proc/self/fd/" + std::to_string(fd.get()));
  return FileView("input", {mapped});
}

// Runs `body`. An Error is what bad input gets, and it must be printable; any other exception ends the
// process.
template <typename Body>
int expect_error_or_success(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    (void)describe(error);
    (void)error.to_json().dump();
  }
  return 0;
}

// Ends the process where `holds` is false: a finding.
inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace wring::fuzz

// Deflated bytes, as gzip and zip hold them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace wring {

enum class DeflateForm { kGzip, kRaw };

// At most `most` bytes are made. Throws Error(kInvalidArgument, "BAD_DEFLATE") that names `place`: damaged,
// cut short, or longer than that.
std::vector<std::byte> inflate_bytes(std::span<const std::byte> bytes, DeflateForm form, std::uint64_t most,
                                     const std::string& place);

std::uint32_t crc32_of(std::span<const std::byte> bytes);

}  // namespace wring

// Pictures decoded to bytes: JPEG and PNG.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/file_tree.h"

namespace wring {

inline constexpr std::uint32_t kMostImageSide = 16384;
inline constexpr std::uint64_t kMostImagePixels = 1ull << 26;

// Rows from the top, channels innermost: 1 (grey) or 3 (red, green, blue).
struct Image {
  std::uint32_t width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;  // height x width x channels
};

// By its first bytes, whatever its name. Palettes are looked up, 16 bits become their upper 8, transparency
// is left out. Throws Error(kInvalidArgument, "BAD_IMAGE") that names the file: neither JPEG nor PNG,
// damaged, cut short, or larger than the bounds above; kUnimplemented "UNSUPPORTED_IMAGE" for CMYK.
Image decode_image(const FileView& file);

}  // namespace wring

// Element types of tensors in files, and one tensor as it lies in a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/file_tree.h"

namespace wring {

// The plain element types that safetensors knows and Wring reads.
enum class ElementType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool, kF8E4M3 };

std::uint64_t element_size(ElementType type);         // bytes
std::string_view safetensors_name(ElementType type);  // "F32", "BF16", ...

// A dense tensor in C order. `data` holds exactly the product of `shape` elements.
struct FileTensor {
  std::string name;
  ElementType type;
  std::vector<std::int64_t> shape;
  Bytes data;
};

}  // namespace wring

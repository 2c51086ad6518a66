// GGUF v3 written: keys with their types, then tensors whose bytes are asked for one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/files.h"
#include "formats/ggml_blocks.h"

namespace wring {

// A key's value. The C++ type is the type in the file: std::uint32_t is UINT32, a vector the ARRAY of its
// elements.
using GgufStored =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                 bool, std::string, std::uint64_t, std::int64_t, double, std::vector<std::uint8_t>,
                 std::vector<std::int8_t>, std::vector<std::uint16_t>, std::vector<std::int16_t>,
                 std::vector<std::uint32_t>, std::vector<std::int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<std::uint64_t>, std::vector<std::int64_t>,
                 std::vector<double>>;

struct GgufKeyToWrite {
  std::string name;
  GgufStored value;
};

// The value as it lies in a file: its type, for an array also its elements' and their number, then itself.
std::string gguf_value_bytes(const GgufStored& value);

using ByteSink = std::function<void(std::span<const std::byte>)>;

// A tensor to be written. `data` is called once, when its turn comes, and hands its bytes to the sink in C
// order, in as many pieces as it likes: no more of a model than a piece need be held.
struct GgufTensorToWrite {
  std::string name;
  GgmlType type;
  std::vector<std::int64_t> shape;  // torch order: [out, in]
  std::function<void(const ByteSink&)> data;
};

// llama.cpp's limits: a name with its final zero in 64 bytes, and four dimensions.
inline constexpr std::size_t kGgufMaxName = 63, kGgufMaxDimensions = 4;

// Writes keys and tensors in the given order; the same input gives the same bytes. Data are aligned to the
// key general.alignment (a UINT32, power of two), or 32. The file has its name only once it is whole. Throws,
// before a byte is written, Error(kInvalidArgument, "GGUF_CANNOT_HOLD") that names the key or tensor and a
// way out: names too long or twice, no or more than four dimensions, rows that are no whole blocks.
void write_gguf(const std::filesystem::path& path, std::span<const GgufKeyToWrite> keys,
                std::span<const GgufTensorToWrite> tensors, Durability durability = Durability::kMachine);

}  // namespace wring

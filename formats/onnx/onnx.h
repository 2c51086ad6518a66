// ONNX models as plain structs: read from a file with every count checked, and written back (onnx.proto, IR
// 3+).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/files.h"
#include "formats/file_tree.h"

namespace wring {

// Element types by their numbers in TensorProto.DataType. Strings and complex numbers are not read.
enum class OnnxType : std::int32_t {
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16,
  kFloat8E4M3 = 17,
  kFloat8E4M3Fnuz = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2Fnuz = 20,
  kUint4 = 21,
  kInt4 = 22,
};

std::string_view onnx_type_name(OnnxType type);                        // "float", "int4", ...
std::uint64_t onnx_bytes(OnnxType type, std::uint64_t elements);       // 4-bit types: two elements a byte
std::optional<OnnxType> onnx_type_from(std::int32_t number) noexcept;  // none: a type that is not read

// A dense tensor in C order, little-endian; 4-bit elements two a byte, the first in the low half. `data`
// holds exactly onnx_bytes(type, product of shape).
struct OnnxTensor {
  std::string name;
  OnnxType type = OnnxType::kFloat;
  std::vector<std::int64_t> shape;
  Bytes data;
};

// One size of a shape: a number, or a name ("batch") or nothing where it is free.
struct OnnxDimension {
  std::optional<std::int64_t> size;
  std::string symbol;
};

// An input or output of a graph. Where `shape` is absent its rank is free; only graphs inside nodes may leave
// out the type.
struct OnnxValue {
  std::string name;
  std::optional<OnnxType> type;
  std::optional<std::vector<OnnxDimension>> shape;
};

struct OnnxGraph;

struct OnnxAttribute {
  std::string name;
  std::variant<float, std::int64_t, std::string, OnnxTensor, std::shared_ptr<OnnxGraph>, std::vector<float>,
               std::vector<std::int64_t>, std::vector<std::string>>
      value;
};

// Inputs that are left out have the empty name. The default domain "ai.onnx" is written "".
struct OnnxNode {
  std::string name, operation, domain;
  std::vector<std::string> inputs, outputs;
  std::vector<OnnxAttribute> attributes;

  // Null where there is none of that name.
  const OnnxAttribute* find(std::string_view attribute) const;
};

struct OnnxGraph {
  std::string name;
  std::vector<OnnxNode> nodes;
  std::vector<OnnxTensor> initializers;
  std::vector<OnnxValue> inputs, outputs;
};

struct OnnxModel {
  std::int64_t ir_version = 8;
  std::string producer;
  std::map<std::string, std::int64_t> opsets;  // by domain; "" is always there
  std::map<std::string, std::string> metadata;
  OnnxGraph graph;
  std::set<std::string> external_files;  // where read_onnx() found data, relative to the model's folder
};

inline constexpr std::int64_t kOldestOnnxOpset = 9, kNewestOnnxOpset = 21;

// Opens a file of external data by its path relative to the model's folder.
using OnnxDataOpener = std::function<FileView(const std::string& location)>;

// Parses and checks a model. Not kept: documentation, metadata of nodes, shapes of values between nodes,
// annotations of quantisation and sharding. Throws Error(kInvalidArgument or kDataLoss, "BAD_ONNX") that
// names the tensor, node or value and what is wrong; kUnimplemented "UNSUPPORTED_ONNX" for an opset outside 9
// to 21, element types, sparse tensors, sequences, functions and training graphs.
OnnxModel read_onnx(const FileView& file, const OnnxDataOpener& open_data);

// The same from a file on disk; external data are looked for in its folder and nowhere else.
OnnxModel read_onnx(const std::filesystem::path& file);

inline constexpr std::uint64_t kOnnxInlineBytes = 1'900'000'000;  // protobuf ends at 2 GiB

// The data of an initializer that has none, when it is its turn to be written.
using OnnxDataMaker = std::function<Bytes(const OnnxTensor&)>;

// Writes FILE, atomically. Where the tensors come to more than `inline_bytes` in sum, those of 1 KiB and more
// go to FILE.data beside it, at offsets that are multiples of 64.
void write_onnx(const std::filesystem::path& file, const OnnxModel& model,
                std::uint64_t inline_bytes = kOnnxInlineBytes, Durability durability = Durability::kMachine,
                const OnnxDataMaker& make = nullptr);

}  // namespace wring

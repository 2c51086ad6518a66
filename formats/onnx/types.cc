// Names and sizes of ONNX element types, and looking up an attribute.
#include <algorithm>
#include <array>

#include "common/error.h"
#include "formats/onnx/onnx.h"

namespace wring {
namespace {

struct TypeRow {
  OnnxType type;
  std::string_view name;
  std::uint64_t bits;
};

constexpr std::array kTypes{
    TypeRow{OnnxType::kFloat, "float", 32},
    TypeRow{OnnxType::kUint8, "uint8", 8},
    TypeRow{OnnxType::kInt8, "int8", 8},
    TypeRow{OnnxType::kUint16, "uint16", 16},
    TypeRow{OnnxType::kInt16, "int16", 16},
    TypeRow{OnnxType::kInt32, "int32", 32},
    TypeRow{OnnxType::kInt64, "int64", 64},
    TypeRow{OnnxType::kBool, "bool", 8},
    TypeRow{OnnxType::kFloat16, "float16", 16},
    TypeRow{OnnxType::kDouble, "double", 64},
    TypeRow{OnnxType::kUint32, "uint32", 32},
    TypeRow{OnnxType::kUint64, "uint64", 64},
    TypeRow{OnnxType::kBfloat16, "bfloat16", 16},
    TypeRow{OnnxType::kFloat8E4M3, "float8e4m3fn", 8},
    TypeRow{OnnxType::kFloat8E4M3Fnuz, "float8e4m3fnuz", 8},
    TypeRow{OnnxType::kFloat8E5M2, "float8e5m2", 8},
    TypeRow{OnnxType::kFloat8E5M2Fnuz, "float8e5m2fnuz", 8},
    TypeRow{OnnxType::kUint4, "uint4", 4},
    TypeRow{OnnxType::kInt4, "int4", 4},
};

const TypeRow& row(OnnxType type) {
  const auto it =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeRow& r) { return r.type == type; });
  if (it == kTypes.end()) throw Error(ErrorCode::kInternal, "INTERNAL", "an ONNX type that is none");
  return *it;
}

}  // namespace

std::string_view onnx_type_name(OnnxType type) {
  return row(type).name;
}

std::uint64_t onnx_bytes(OnnxType type, std::uint64_t elements) {
  const std::uint64_t bits = row(type).bits;
  return bits == 4 ? elements / 2 + elements % 2 : elements * (bits / 8);
}

std::optional<OnnxType> onnx_type_from(std::int32_t number) noexcept {
  for (const auto& r : kTypes)
    if (static_cast<std::int32_t>(r.type) == number) return r.type;
  return std::nullopt;
}

const OnnxAttribute* OnnxNode::find(std::string_view attribute) const {
  const auto it = std::find_if(attributes.begin(), attributes.end(),
                               [&](const OnnxAttribute& a) { return a.name == attribute; });
  return it == attributes.end() ? nullptr : &*it;
}

}  // namespace wring

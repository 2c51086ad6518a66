// The weight as a GGUF file holds it: ggml's blocks, decoded by formats/.
#include <span>

#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"
#include "formats/gguf.h"

namespace wring {
namespace {

GgmlType ggml_type(std::uint32_t id) {
  const auto type = static_cast<GgmlType>(id);
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ8_0:
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
    case GgmlType::kIQ4_NL:
    case GgmlType::kMXFP4:
      return type;
  }
  throw_bad_weight_rep("its ggml type " + std::to_string(id) + " is none that Wring reads");
}

class GgmlRep final : public WeightRep {
 public:
  GgmlRep(at::Tensor blocks, GgmlType type, std::int64_t columns)
      : blocks_(std::move(blocks)), type_(type), columns_(columns) {}

  std::string_view format() const override { return "ggml"; }
  std::int64_t rows() const override { return blocks_.size(0); }
  std::int64_t columns() const override { return columns_; }
  std::vector<NamedTensor> tensors() const override { return {{"blocks", blocks_}}; }
  Json attributes() const override {
    return {{"type", std::string(to_string(type_))},
            {"type_id", static_cast<std::uint32_t>(type_)},
            {"columns", columns_}};
  }

  at::Tensor decode(at::ScalarType dtype) const override {
    const at::Tensor blocks = blocks_.cpu();
    const auto* bytes = reinterpret_cast<const std::byte*>(blocks.data_ptr<std::uint8_t>());
    const auto row_bytes = static_cast<std::size_t>(blocks.size(1)),
               row_values = static_cast<std::size_t>(columns_);
    return fill_rows(rows(), columns_, dtype, blocks_.device(), [&](std::int64_t row, float* out) {
      ggml_decode(type_, {bytes + static_cast<std::size_t>(row) * row_bytes, row_bytes}, {out, row_values});
    });
  }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return GgmlRep(blocks_.index_select(0, ids), type_, columns_).decode(dtype);
  }

 private:
  at::Tensor blocks_;
  GgmlType type_;
  std::int64_t columns_;
};

}  // namespace

std::shared_ptr<const WeightRep> ggml_rep(at::Tensor blocks, std::uint32_t type_id, std::int64_t columns) {
  const GgmlType type = ggml_type(type_id);
  if (blocks.dim() != 2 || blocks.scalar_type() != at::kByte)
    throw_bad_weight_rep("its blocks are no matrix of bytes");
  const auto elements = static_cast<std::int64_t>(ggml_block_elements(type));
  const auto bytes = static_cast<std::int64_t>(ggml_block_bytes(type));
  const std::int64_t row_blocks = blocks.size(1) / bytes;
  if (columns < 0 || columns % elements != 0 || blocks.size(1) % bytes != 0 ||
      columns / elements != row_blocks)
    throw_bad_weight_rep("rows of " + std::to_string(blocks.size(1)) + " bytes are not " +
                         std::to_string(columns) + " values of type " + std::string(to_string(type)));
  return std::make_shared<GgmlRep>(blocks.contiguous(), type, columns);
}

std::shared_ptr<const WeightRep> load_ggml_rep(const Json& attributes, const TensorLookup& tensor) {
  const auto id = json_at<std::uint32_t>(attributes, "type_id", "attributes");
  // Blocks of other types can have the same size: the name has to agree with the id.
  const auto name = json_at<std::string>(attributes, "type", "attributes");
  if (name != to_string(ggml_type(id)))
    throw_bad_weight_rep("its ggml type is '" + name.substr(0, 40) + "' by name and " + std::to_string(id) +
                         " by id");
  return ggml_rep(tensor("blocks"), id, json_at<std::int64_t>(attributes, "columns", "attributes"));
}

}  // namespace wring

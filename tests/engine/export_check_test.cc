// What the check of an export asks for is worked out without the exporter, and notices one that writes
// another thing.
#include <gtest/gtest.h>

#include <numeric>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "engine/export/asked_bytes.h"
#include "engine/export/exporter.h"
#include "engine/export/meaning.h"
#include "engine/export/verify.h"
#include "formats/safetensors.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

Params folder_params(const char* dtype) {
  return Params(
      {{"dtype", dtype}, {"shard_bytes", 1'000'000'000}, {"pad", false}, {"checkpoint_format", "gptq"}},
      "to.params");
}

// 4 bits in groups of 32, symmetric: 2^bits codes that are drawn.
void put_on_grids(Model& model, int bits) {
  for (Layer* layer : model.layers()) {
    if (layer->class_name() != "Linear" || layer->name() == "lm_head") continue;
    const auto rows = layer->weight().rows(), columns = layer->weight().columns();
    layer->set_weight(packed_int_rep({bits, 32, at::randint(1 << bits, {rows, columns}, at::kByte),
                                      at::rand({rows, columns / 32}).to(at::kHalf), at::Tensor()}));
  }
}

Json claimed(const Model& model, const char* format, const Params& params, const fs::path& folder) {
  Claims claims;
  find_exporter(format)({model, FileTree(), params, "model", folder}, claims);
  Json json = claims.to_json();
  json["meaning"] = meaning_of(model);
  json["files"] = Json::object();
  return json;
}

std::string refused_field(const fs::path& folder, const Json& claims) {
  try {
    (void)verify_export(folder, claims);
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "EXPORT_DIFFERS");
    return e.field();
  }
  return "";
}

TEST(ExportCheck, RefusesAnExportThatTakesOtherBytesThanWereAskedFor) {
  const auto model = small_model::make();
  const TempDir folder;
  Json claims = claimed(*model, "huggingface", folder_params("float32"), folder.path());
  claims.update(asked_bytes(*model, "huggingface", folder_params("float32")).to_json());
  EXPECT_EQ(refused_field(folder.path(), claims), "");
  claims.update(asked_bytes(*model, "huggingface", folder_params("bfloat16")).to_json());
  EXPECT_EQ(refused_field(folder.path(), claims), "claims.bytes");
}

TEST(ExportCheck, AsksForTheBitsOfTheModelsGridsWhateverTheExporterPacks) {
  const auto model = small_model::make();
  put_on_grids(*model, 4);
  const TempDir folder;
  Json claims = claimed(*model, "compressed-tensors", folder_params("float16"), folder.path());
  claims.update(asked_bytes(*model, "compressed-tensors", folder_params("float16")).to_json());
  EXPECT_EQ(refused_field(folder.path(), claims), "");
  put_on_grids(*model, 3);
  claims.update(asked_bytes(*model, "compressed-tensors", folder_params("float16")).to_json());
  EXPECT_EQ(refused_field(folder.path(), claims), "claims.bytes");
}

// Four blocks of 4 x [32, 32] and 3 x [64, 32] weights; 96 x 32 embeddings and a head; nine norms of 32.
TEST(ExportCheck, AsksForGptqAsItsLayoutIsDescribed) {
  const auto model = small_model::make();
  put_on_grids(*model, 4);
  constexpr double kWeights = 4 * (4 * 32 * 32 + 3 * 64 * 32), kInputs = 4 * (4 * 32 + 2 * 32 + 64);
  constexpr double kPacked = kWeights / 2 + kWeights / 32 * 2.5 + kInputs * 4, kRest = 2 * 96 * 32 + 9 * 32;
  EXPECT_EQ(static_cast<double>(asked_bytes(*model, "gptq-checkpoint", folder_params("float16")).bytes),
            kPacked + 2 * kRest);
}

TEST(ExportCheck, RefusesAFileBesideTheWeightsThatIsAnotherOneOrMissing) {
  const auto model = small_model::make();
  const TempDir folder;
  Json claims = claimed(*model, "huggingface", folder_params("float32"), folder.path());
  claims.update(asked_bytes(*model, "huggingface", folder_params("float32")).to_json());
  claims["files"] = {{"tokenizer.json", sha256("{}").hex()}};
  EXPECT_EQ(refused_field(folder.path(), claims), "tokenizer.json");
  write_file_atomic(folder.path() / "tokenizer.json", "{}");
  EXPECT_EQ(refused_field(folder.path(), claims), "");
  write_file_atomic(folder.path() / "tokenizer.json", "[]");
  EXPECT_EQ(refused_field(folder.path(), claims), "tokenizer.json");
}

// Pieces of 65,536 values: rows of 30,000 go two by two.
TEST(ExportCheck, HashesValuesPieceByPiece) {
  const at::Tensor values = at::randn({5, 30'000});
  std::string pieces;
  for (const auto& piece : {values.narrow(0, 0, 2), values.narrow(0, 2, 2), values.narrow(0, 4, 1)}) {
    const auto digest = sha256(
        std::as_bytes(std::span(piece.const_data_ptr<float>(), static_cast<std::size_t>(piece.numel()))));
    pieces.append(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
  }
  EXPECT_EQ(digest_of(values), sha256(pieces).hex());
  EXPECT_EQ(digest_of(*dense_rep(values)), sha256(pieces).hex());
}

}  // namespace
}  // namespace wring

// Any bytes as a row of floats: every ggml type encodes it without a fault, with and without importance.
#include <cmath>
#include <vector>

#include "formats/ggml_blocks.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  constexpr GgmlType kTypes[] = {GgmlType::kF16,    GgmlType::kBF16, GgmlType::kQ4_0, GgmlType::kQ4_1,
                                 GgmlType::kQ5_0,   GgmlType::kQ5_1, GgmlType::kQ8_0, GgmlType::kQ2_K,
                                 GgmlType::kQ3_K,   GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K,
                                 GgmlType::kIQ4_NL, GgmlType::kMXFP4};
  if (size == 0) return 0;
  std::vector<float> row(256);
  const auto bytes = std::as_writable_bytes(std::span(row));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(data[i % size]);
  std::vector<float> importance = row, values(row.size());
  for (float& weight : importance) weight = std::isfinite(weight) ? std::fabs(weight) : 1.0f;
  for (const auto type : kTypes)
    for (const std::span<const float> weights :
         {std::span<const float>(), std::span<const float>(importance)}) {
      std::vector<std::byte> blocks(ggml_row_bytes(type, row.size()));
      ggml_encode(type, row, blocks, weights);
      ggml_decode(type, blocks, values);
    }
  return 0;
}

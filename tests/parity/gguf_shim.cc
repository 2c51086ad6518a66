// ggml_encode as a C function, for tests/parity/ggml_parity.py.
#include "formats/ggml_blocks.h"

// Encodes `rows` rows of `columns` values; `importance` is null or holds one a column. `out` holds all rows'
// bytes.
extern "C" void wring_ggml_encode(std::uint32_t type, const float* values, std::uint64_t rows,
                                  std::uint64_t columns, const float* importance, std::byte* out) {
  using namespace wring;
  const auto id = static_cast<GgmlType>(type);
  const auto bytes = ggml_row_bytes(id, columns);
  const std::span<const float> weights(importance, importance ? columns : 0);
  for (std::uint64_t row = 0; row < rows; ++row)
    ggml_encode(id, {values + row * columns, columns}, {out + row * bytes, bytes}, weights);
}

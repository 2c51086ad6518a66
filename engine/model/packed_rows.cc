// Rows are shared out among threads; words are the same bytes, padded.
#include "engine/model/packed_rows.h"

#include <ATen/Parallel.h>

#include <string>

#include "common/error.h"
#include "engine/kernels/bit_pack.h"

namespace wring {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

// uint8 [rows, n] -> uint8 [rows, columns], each row by `map`.
template <typename Map>
at::Tensor map_rows(const at::Tensor& bytes, std::int64_t columns, const Map& map) {
  const at::Tensor in = bytes.cpu().contiguous();
  at::Tensor out = at::empty({in.size(0), columns}, at::kByte);
  const auto* from = in.const_data_ptr<std::uint8_t>();
  auto* to = out.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, in.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) map(from + row * in.size(1), to + row * columns);
  });
  return out;
}

}  // namespace

at::Tensor pack_rows(const at::Tensor& codes, int bits) {
  const std::int64_t count = codes.size(1);
  return map_rows(codes, packed_bytes(count, bits),
                  [&](const std::uint8_t* from, std::uint8_t* to) { pack_bits(from, count, bits, to); });
}

at::Tensor unpack_rows(const at::Tensor& packed, std::int64_t count, int bits) {
  if (packed.scalar_type() != at::kByte || packed.dim() != 2 || packed.size(1) < packed_bytes(count, bits))
    throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP",
                "rows of packed codes are shorter than " + std::to_string(count) + " codes of " +
                    std::to_string(bits) + " bits");
  return map_rows(packed, count,
                  [&](const std::uint8_t* from, std::uint8_t* to) { unpack_bits(from, count, bits, to); });
}

at::Tensor pack_words(const at::Tensor& codes, int bits) {
  const at::Tensor bytes = pack_rows(codes, bits);
  const std::int64_t padding = (4 - bytes.size(1) % 4) % 4;
  return at::constant_pad_nd(bytes, {0, padding}).contiguous().view(at::kInt);
}

at::Tensor unpack_words(const at::Tensor& words, std::int64_t count, int bits) {
  // A copy: contiguous() leaves the strides of an axis of one element as they are, and view() minds them.
  return unpack_rows(words.cpu().clone(at::MemoryFormat::Contiguous).view(at::kByte), count, bits);
}

}  // namespace wring

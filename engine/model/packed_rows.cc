// Rows are shared out among threads; words are the same bytes, padded.
#include "engine/model/packed_rows.h"

#include <ATen/Parallel.h>

#include "engine/kernels/bit_pack.h"

namespace wring {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

}  // namespace

at::Tensor pack_rows(const at::Tensor& codes, int bits) {
  const at::Tensor in = codes.cpu().contiguous();
  const std::int64_t rows = in.size(0), count = in.size(1), row_bytes = packed_bytes(count, bits);
  at::Tensor out = at::empty({rows, row_bytes}, at::kByte);
  const auto* from = in.const_data_ptr<std::uint8_t>();
  auto* to = out.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      pack_bits(from + row * count, count, bits, to + row * row_bytes);
  });
  return out;
}

at::Tensor unpack_rows(const at::Tensor& packed, std::int64_t count, int bits) {
  const at::Tensor in = packed.cpu().contiguous();
  const std::int64_t rows = in.size(0), row_bytes = in.size(1);
  at::Tensor out = at::empty({rows, count}, at::kByte);
  const auto* from = in.const_data_ptr<std::uint8_t>();
  auto* to = out.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      unpack_bits(from + row * row_bytes, count, bits, to + row * count);
  });
  return out;
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

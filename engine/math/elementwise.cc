// Rows are shared out among threads; each is read and written once.
#include "engine/math/elementwise.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/math/float_rows.h"

namespace wring {
namespace {

constexpr std::int64_t kValuesPerTask = 16384;

// At least one row a task, so many that starting a thread is worth it.
std::int64_t rows_per_task(std::int64_t row) {
  return std::max<std::int64_t>(1, kValuesPerTask / std::max<std::int64_t>(1, row));
}

}  // namespace

bool runs_on_kernels(at::TensorList tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& t) {
    const bool known = t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16;
    return t.is_cpu() && known && !(c10::GradMode::is_enabled() && t.requires_grad());
  });
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon, at::ScalarType dtype) {
  const bool known = dtype == at::kFloat || dtype == at::kBFloat16;
  if (!known || !runs_on_kernels({x, gain})) {
    const auto wide = x.to(at::kFloat);
    const auto normed = wide * at::rsqrt(wide.square().mean(-1, true) + epsilon);
    return (normed * gain.to(at::kFloat)).to(dtype);
  }
  const at::Tensor from = x.contiguous(), gains = gain.to(at::kFloat).contiguous();
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
  const std::int64_t n = x.size(-1);
  at::parallel_for(0, n > 0 ? x.numel() / n : 0, rows_per_task(n), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(n));
    for (std::int64_t i = begin; i < end; ++i) {
      read_floats(from, i * n, n, row.data());
      normalize_row(row.data(), gains.const_data_ptr<float>(), static_cast<float>(epsilon), n, row.data());
      write_floats(row.data(), n, y, i * n);
    }
  });
  return y;
}

at::Tensor silu_multiply(at::Tensor gate, const at::Tensor& up) {
  if (!runs_on_kernels({gate, up})) return at::silu(gate) * up;
  at::Tensor y = gate.contiguous();
  const at::Tensor factor = up.contiguous();
  at::parallel_for(0, y.numel(), kValuesPerTask, [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kPiece = 1024;
    float a[kPiece], b[kPiece];
    for (std::int64_t i = begin; i < end; i += kPiece) {
      const std::int64_t n = std::min(kPiece, end - i);
      read_floats(y, i, n, a);
      read_floats(factor, i, n, b);
      wring::silu_multiply(a, b, n);
      write_floats(a, n, y, i);
    }
  });
  return y;
}

void add_column_squares(const at::Tensor& x, at::Tensor& sums) {
  if (!runs_on_kernels({x})) {
    sums.add_(x.to(at::kFloat).square().sum(0).to(at::kDouble));
    return;
  }
  constexpr std::int64_t kColumnsPerTask = 128;
  const at::Tensor rows = x.contiguous();
  const std::int64_t count = rows.size(0), n = rows.size(1);
  auto* to = sums.mutable_data_ptr<double>();
  at::parallel_for(0, n, kColumnsPerTask, [&](std::int64_t begin, std::int64_t end) {
    if (rows.scalar_type() == at::kFloat)
      add_squares(rows.const_data_ptr<float>() + begin, count, end - begin, n, to + begin);
    else
      add_squares(bf16_bits(rows) + begin, count, end - begin, n, to + begin);
  });
}

at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const std::int64_t batch = x.size(0), heads = x.size(1), positions = x.size(2), width = x.size(3),
                     half = width / 2;
  if (!runs_on_kernels({x, cosine, sine}) || x.stride(3) != 1) {
    const auto cos = cosine.to(x.scalar_type()), sin = sine.to(x.scalar_type());
    const auto low = x.narrow(3, 0, half), high = x.narrow(3, half, half);
    return at::cat({low * cos - high * sin, high * cos + low * sin}, 3);
  }
  at::Tensor y = at::empty({batch, positions, heads, width}, x.options());
  const at::Tensor cosines = cosine.contiguous(), sines = sine.contiguous();
  at::parallel_for(0, batch * positions, rows_per_task(heads * width),
                   [&](std::int64_t begin, std::int64_t end) {
                     std::vector<float> from(static_cast<std::size_t>(width)), to(from.size());
                     for (std::int64_t i = begin; i < end; ++i) {
                       const std::int64_t sequence = i / positions, position = i % positions;
                       for (std::int64_t head = 0; head < heads; ++head) {
                         read_floats(x, sequence * x.stride(0) + head * x.stride(1) + position * x.stride(2),
                                     width, from.data());
                         rotate_head(from.data(), cosines.const_data_ptr<float>() + position * half,
                                     sines.const_data_ptr<float>() + position * half, half, to.data());
                         write_floats(to.data(), width, y, (i * heads + head) * width);
                       }
                     }
                   });
  return y.transpose(1, 2);
}

}  // namespace wring

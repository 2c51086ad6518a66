// The passes between products, each one time over memory: norms, rotations, activations, bf16's conversions.
#pragma once

#include <cstdint>

namespace wring {

// y = x / sqrt(mean(x^2) + epsilon) * gain, over one row of n.
void normalize_row(const float* x, const float* gain, float epsilon, std::int64_t n, float* y);

// One head of 2 * half dimensions, halves layout: y = [low * cosine - high * sine, high * cosine + low *
// sine].
void rotate_head(const float* x, const float* cosine, const float* sine, std::int64_t half, float* y);

// gate = gate / (1 + e^-gate) * up.
void silu_multiply(float* gate, const float* up, std::int64_t n);

// sums[j] += x[i][j]^2 for rows i of `columns` values, `stride` apart; fp32 within 64 rows, fp64 between
// them.
void add_squares(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t stride, double* sums);
void add_squares(const std::uint16_t* x, std::int64_t rows, std::int64_t columns, std::int64_t stride,
                 double* sums);

// bfloat16 (as its bits) to float32 and back, to the nearest, ties to even.
void widen(const std::uint16_t* x, std::int64_t n, float* y);
void narrow(const float* x, std::int64_t n, std::uint16_t* y);

}  // namespace wring

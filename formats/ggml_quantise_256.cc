// ggml's quantisers of super-blocks of 256 values, Q2_K to Q6_K (ggml-quants.c, operation by operation).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "formats/ggml_half.h"
#include "formats/ggml_lanes.h"
#include "formats/ggml_quantisers.h"
#include "formats/ggml_search.h"

namespace wring {
namespace {

using Byte = std::uint8_t;
constexpr int kSuper = 256;

float sum_of_squares(const float* x, int count) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

// weight_i = importance_i * sqrt(sigma2 + x_i^2).
void weigh(const float* x, const float* importance, float sigma2, float* weight) {
  for (int i = 0; i < kSuper; ++i) weight[i] = importance[i] * std::sqrt(sigma2 + x[i] * x[i]);
}

template <int N>
void put_lanes(const IntLanes<N>& lanes, Byte* codes) {
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < N; ++i) codes[N * lane + i] = static_cast<Byte>(lanes.element[i][lane]);
}

// Codes of the blocks of N whose scale is not 0, now that scales and minimums are what the file holds:
// x is about scale * (code - shift) - minimum.
template <int N>
void requantise(const float* x, float scale, float minimum, int shift, int top, Byte* codes) {
  if (scale == 0) return;
  for (int i = 0; i < N; ++i)
    codes[i] = static_cast<Byte>(std::clamp(nearest((x[i] + minimum) / scale), -shift, top - shift) + shift);
}

// Four codes of two bits a byte: each 128 values, byte l holds l, l + 32, l + 64 and l + 96.
void put_two_bits(const Byte* codes, int shift, Byte* out) {
  for (int j = 0; j < kSuper; j += 128)
    for (int l = 0; l < 32; ++l)
      out[j / 4 + l] =
          static_cast<Byte>((codes[j + l] >> shift & 3) | (codes[j + l + 32] >> shift & 3) << 2 |
                            (codes[j + l + 64] >> shift & 3) << 4 | (codes[j + l + 96] >> shift & 3) << 6);
}

// A super-block of blocks of N, each with a scale and a minimum: Q2_K, Q4_K, Q5_K.
template <int N>
struct AffineBlocks {
  static constexpr int kCount = kSuper / N;
  std::array<float, kCount> scales, minimums, weight_sums;
  std::array<Byte, kSuper> codes;
  std::array<Byte, kCount> scale_codes, minimum_codes;
  float d, d_minimum;  // to be stored as halves

  void fit(const AffineSearch& search, const float* x, const float* weight) {
    for (int j = 0; j < kCount; j += kLanes) {
      const auto best = fit_affine<N>(search, side_by_side<N>(x + N * j), side_by_side<N>(weight + N * j));
      put_lanes<N>(best.codes, codes.data() + N * j);
      std::memcpy(scales.data() + j, &best.scale, sizeof best.scale);
      std::memcpy(minimums.data() + j, &best.minimum, sizeof best.minimum);
    }
    for (int j = 0; j < kCount; ++j) {
      weight_sums[j] = 0;
      for (int i = 0; i < N; ++i) weight_sums[j] += weight[N * j + i];
    }
  }

  // The largest scale and the largest minimum get the code `top`.
  void round_scales(float top) {
    d = round_to_largest(scales, top, scale_codes);
    d_minimum = round_to_largest(minimums, top, minimum_codes);
  }
  static float round_to_largest(const std::array<float, kCount>& values, float top,
                                std::array<Byte, kCount>& rounded) {
    float largest = 0;
    for (const float value : values)
      if (value > largest) largest = value;
    const float inverse = largest > 0 ? top / largest : 0.0f;
    for (int j = 0; j < kCount; ++j) rounded[j] = static_cast<Byte>(nearest(inverse * values[j]));
    return largest / top;
  }

  // Scales and minimums by least squares, weighted as the values are.
  void fit_scales(int top) {
    FloatLanes<kCount> both, weight;
    for (int j = 0; j < kCount; ++j) {
      both.element[j] = Floats{scales[j], minimums[j], 0.0f, 0.0f};
      weight.element[j] = all(weight_sums[j]);
    }
    const auto fit = fit_positive<kCount>(top, both, weight);
    for (int j = 0; j < kCount; ++j) {
      scale_codes[j] = static_cast<Byte>(fit.codes.element[j][0]);
      minimum_codes[j] = static_cast<Byte>(fit.codes.element[j][1]);
    }
    d = fit.scale[0];
    d_minimum = fit.scale[1];
  }

  // Codes are bytes: a scale below 0, which no grid has, wraps.
  void cap_scales(Byte top) {
    for (auto* codes_of : {&scale_codes, &minimum_codes})
      for (Byte& code : *codes_of) code = std::min(code, top);
  }

  // Stores d and the minimums' d, and gives all values their final codes. `stored` is what the file says of
  // block j.
  template <typename Stored>
  void finish(const float* x, int top, Byte* d_out, Byte* d_minimum_out, const Stored& stored) {
    const float d_stored = put_half(d, d_out), d_minimum_stored = put_half(d_minimum, d_minimum_out);
    for (int j = 0; j < kCount; ++j) {
      const std::pair<int, int> scale_and_minimum = stored(j);
      requantise<N>(x + N * j, d_stored * static_cast<float>(scale_and_minimum.first),
                    d_minimum_stored * static_cast<float>(scale_and_minimum.second), 0, top,
                    codes.data() + N * j);
    }
  }
};

// The 12 bytes that six_bit_scale_and_minimum() reads.
void put_scales_and_minimums(const Byte* scales, const Byte* minimums, Byte* out) {
  for (int j = 0; j < 4; ++j) {
    out[j] = static_cast<Byte>(scales[j] | scales[j + 4] >> 4 << 6);
    out[j + 4] = static_cast<Byte>(minimums[j] | minimums[j + 4] >> 4 << 6);
    out[j + 8] = static_cast<Byte>((scales[j + 4] & 15) | (minimums[j + 4] & 15) << 4);
  }
}

// What Q4_K and Q5_K share; `reference` is the search without importance.
AffineBlocks<32> encode_six_bit_scales(const AffineSearch& reference, const float* x, const float* importance,
                                       Byte* out) {
  AffineBlocks<32> blocks;
  float weight[kSuper];
  if (importance) {
    weigh(x, importance, 2 * sum_of_squares(x, kSuper) / kSuper, weight);
    blocks.fit({reference.top, -0.9f, 0.05f, 36, false}, x, weight);
    blocks.fit_scales(63);
  } else {
    for (int j = 0; j < kSuper; j += 32) {
      const float root_mean_square = std::sqrt(sum_of_squares(x + j, 32) / 32);
      for (int i = j; i < j + 32; ++i) weight[i] = root_mean_square + std::fabs(x[i]);
    }
    blocks.fit(reference, x, weight);
    blocks.round_scales(63);
  }
  if (!importance || reference.top == 31)
    blocks.cap_scales(63);  // ggml leaves it out of Q4_K with importance
  put_scales_and_minimums(blocks.scale_codes.data(), blocks.minimum_codes.data(), out + 4);
  blocks.finish(x, reference.top, out, out + 2, [&](int j) { return six_bit_scale_and_minimum(out + 4, j); });
  return blocks;
}

// Nibbles of two times 32 values in 32 bytes.
void put_low_nibbles(const Byte* codes, Byte* out) {
  for (int j = 0; j < kSuper; j += 64)
    for (int l = 0; l < 32; ++l)
      out[j / 2 + l] = static_cast<Byte>((codes[j + l] & 15) | (codes[j + l + 32] & 15) << 4);
}

// Bit g of byte l is bit `bit` of code 32 g + l: Q5_K's fifth bits, Q3_K's third.
void put_bit_planes(const Byte* codes, int bit, Byte* out) {
  for (int l = 0; l < 32; ++l) {
    int bits = 0;
    for (int g = 0; g < 8; ++g) bits |= (codes[32 * g + l] >> bit & 1) << g;
    out[l] = static_cast<Byte>(bits);
  }
}

// Sixteen scales of six bits in 12 bytes (formats/ggml_blocks.cc: q3_scale).
void put_q3_scales(const Byte* scales, Byte* out) {
  for (int j = 0; j < 8; ++j) out[j] = static_cast<Byte>((scales[j] & 15) | (scales[j + 8] & 15) << 4);
  for (int j = 0; j < 4; ++j)
    out[8 + j] = static_cast<Byte>(scales[j] >> 4 | scales[j + 4] >> 4 << 2 | scales[j + 8] >> 4 << 4 |
                                   scales[j + 12] >> 4 << 6);
}

// A super-block of sixteen blocks of sixteen, each with a signed scale: Q3_K, Q6_K.
struct SymmetricBlocks {
  std::array<float, 16> scales;
  std::array<Byte, kSuper> codes;

  template <typename Fit>  // of four blocks, by the number of the first
  void fit(const Fit& fit_four) {
    for (int j = 0; j < 16; j += kLanes) {
      const SymmetricFit<16> best = fit_four(j);
      put_lanes<16>(best.codes, codes.data() + 16 * j);
      std::memcpy(scales.data() + j, &best.scale, sizeof best.scale);
    }
  }
  float largest_scale() const {  // by magnitude, with its sign; of several the first
    float largest = 0;
    for (const float scale : scales)
      if (std::fabs(scale) > std::fabs(largest)) largest = scale;
    return largest;
  }
};

// Q3_K's scales (codes 0 to 63, of scale -32 to 31) and their d.
float round_q3_scales(const SymmetricBlocks& blocks, const float* weight, std::array<Byte, 16>& codes) {
  codes.fill(0);
  if (weight) {
    FloatLanes<16> scales, weights;
    for (int j = 0; j < 16; ++j) {
      float sum = 0;
      for (int i = 0; i < 16; ++i) sum += weight[16 * j + i];
      scales.element[j] = all(blocks.scales[j]);
      weights.element[j] = all(sum);
    }
    const auto fit = fit_symmetric<16>(32, scales, weights);
    for (int j = 0; j < 16; ++j) codes[j] = static_cast<Byte>(fit.codes.element[j][0]);
    return fit.scale[0];
  }
  const float largest = blocks.largest_scale();
  if (largest == 0) return 0.0f;
  const float inverse = -32.0f / largest;
  for (int j = 0; j < 16; ++j) {
    const auto code = static_cast<std::int8_t>(nearest(inverse * blocks.scales[j]));
    codes[j] = static_cast<Byte>(std::clamp<int>(code, -32, 31) + 32);
  }
  return 1 / inverse;
}

void encode_q2_k(const float* x, const float* importance, Byte* out) {
  AffineBlocks<16> blocks;
  float weight[kSuper];
  if (importance) {
    weigh(x, importance, sum_of_squares(x, kSuper) / kSuper, weight);
    blocks.fit({3, -0.9f, 0.05f, 36, false}, x, weight);
    blocks.fit_scales(15);
  } else {
    for (int i = 0; i < kSuper; ++i) weight[i] = std::fabs(x[i]);
    blocks.fit({3, -0.5f, 0.1f, 15, true}, x, weight);
    blocks.round_scales(15);
  }
  for (int j = 0; j < 16; ++j)
    out[j] = static_cast<Byte>(blocks.scale_codes[j] | blocks.minimum_codes[j] << 4);
  blocks.finish(x, 3, out + 80, out + 82,
                [&](int j) { return std::pair<int, int>(out[j] & 15, out[j] >> 4); });
  put_two_bits(blocks.codes.data(), 0, out + 16);
}

void encode_q3_k(const float* x, const float* importance, Byte* out) {
  SymmetricBlocks blocks;
  float weight[kSuper];
  if (importance) {
    weigh(x, importance, 2 * sum_of_squares(x, kSuper) / kSuper, weight);
    blocks.fit([&](int j) {
      return fit_symmetric<16>(4, side_by_side<16>(x + 16 * j), side_by_side<16>(weight + 16 * j));
    });
  } else {
    blocks.fit([&](int j) { return fit_symmetric_by_turns<16>(4, side_by_side<16>(x + 16 * j)); });
  }
  std::array<Byte, 16> scales;
  const float d = put_half(round_q3_scales(blocks, importance ? weight : nullptr, scales), out + 108);
  put_q3_scales(scales.data(), out + 96);
  for (int j = 0; j < 16; ++j)
    requantise<16>(x + 16 * j, d * static_cast<float>(scales[j] - 32), 0.0f, 4, 7,
                   blocks.codes.data() + 16 * j);
  put_bit_planes(blocks.codes.data(), 2, out);
  put_two_bits(blocks.codes.data(), 0, out + 32);
}

void encode_q4_k(const float* x, const float* importance, Byte* out) {
  const auto blocks = encode_six_bit_scales({15, -1.0f, 0.1f, 20, false}, x, importance, out);
  put_low_nibbles(blocks.codes.data(), out + 16);
}

void encode_q5_k(const float* x, const float* importance, Byte* out) {
  const auto blocks = encode_six_bit_scales({31, -0.5f, 0.1f, 15, false}, x, importance, out);
  put_bit_planes(blocks.codes.data(), 4, out + 16);
  put_low_nibbles(blocks.codes.data(), out + 48);
}

void encode_q6_k(const float* x, const float* importance, Byte* out) {
  SymmetricBlocks blocks;
  blocks.fit([&](int j) {
    const auto four = side_by_side<16>(x + 16 * j);
    if (importance) return fit_symmetric<16>(32, four, side_by_side<16>(importance + 16 * j));
    FloatLanes<16> squares;
    for (int i = 0; i < 16; ++i) squares.element[i] = four.element[i] * four.element[i];
    return fit_symmetric<16>(32, four, squares);
  });
  const float largest = blocks.largest_scale();
  std::memset(out, 0, 210);
  if (std::fabs(largest) < 1e-15f) return;
  const float inverse = -128.0f / largest, d = put_half(1 / inverse, out + 208);
  for (int j = 0; j < 16; ++j) {
    const auto scale = static_cast<std::int8_t>(std::min(127, nearest(inverse * blocks.scales[j])));
    out[192 + j] = static_cast<Byte>(scale);
    requantise<16>(x + 16 * j, d * static_cast<float>(scale), 0.0f, 32, 63, blocks.codes.data() + 16 * j);
  }
  for (int j = 0; j < kSuper; j += 128)
    for (int l = 0; l < 64; ++l)
      out[j / 2 + l] = static_cast<Byte>((blocks.codes[j + l] & 15) | (blocks.codes[j + l + 64] & 15) << 4);
  put_two_bits(blocks.codes.data(), 4, out + 128);
}

template <void encode(const float*, const float*, Byte*), int kBytes>
void for_each_super_block(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for (std::int64_t b = 0; b < blocks; ++b)
    encode(x + b * kSuper, importance ? importance + b * kSuper : nullptr, out + b * kBytes);
}

}  // namespace

void quantise_q2_k(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for_each_super_block<encode_q2_k, 84>(x, importance, blocks, out);
}
void quantise_q3_k(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for_each_super_block<encode_q3_k, 110>(x, importance, blocks, out);
}
void quantise_q4_k(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for_each_super_block<encode_q4_k, 144>(x, importance, blocks, out);
}
void quantise_q5_k(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for_each_super_block<encode_q5_k, 176>(x, importance, blocks, out);
}
void quantise_q6_k(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  for_each_super_block<encode_q6_k, 210>(x, importance, blocks, out);
}

}  // namespace wring

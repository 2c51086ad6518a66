// ggml's quantisers of blocks of 32 values: Q4_0 to Q8_0, IQ4_NL and MXFP4 (ggml-quants.c, operation by
// operation).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/ggml_half.h"
#include "formats/ggml_lanes.h"
#include "formats/ggml_quantisers.h"
#include "formats/ggml_search.h"

namespace wring {
namespace {

using Byte = std::uint8_t;
constexpr int kBlock = 32, kVectors = kBlock / kLanes;

Floats at(const float* x, int vector) {
  Floats value;
  std::memcpy(&value, x + kLanes * vector, sizeof value);
  return value;
}

struct Range {
  float low, high;
};

// Least and largest of the block and of `start`. Among zeros of both signs it may give either.
Range range(const float* x, Range start) {
  Floats low = all(start.low), high = all(start.high);
  for (int v = 0; v < kVectors; ++v) {
    low = select(at(x, v) < low, at(x, v), low);
    high = select(at(x, v) > high, at(x, v), high);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (low[lane] < start.low) start.low = low[lane];
    if (high[lane] > start.high) start.high = high[lane];
  }
  return start;
}

// The value of largest magnitude; of several the first. 0 where all are zeros.
float extreme(const float* x) {
  const auto [low, high] = range(x, {0.0f, 0.0f});
  if (high != -low) return high > -low ? high : low;
  for (int i = 0; i < kBlock; ++i)
    if (x[i] == high || x[i] == low) return x[i] == 0 ? 0.0f : x[i];
  return 0.0f;
}

float inverse_or_zero(float scale) {
  return scale != 0 ? 1.0f / scale : 0.0f;
}

void put_nibbles(const std::int32_t* codes, Byte* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<Byte>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

void put_fifth_bits(const std::int32_t* codes, Byte* out) {
  std::uint32_t high = 0;
  for (int i = 0; i < kBlock; ++i) high |= static_cast<std::uint32_t>(codes[i] >> 4 & 1) << i;
  std::memcpy(out, &high, 4);
}

// Codes of `bits` (4 or 5) behind the scales, as Q4_0 to Q5_1 have them.
void put_codes(int bits, const std::int32_t* codes, Byte* out) {
  if (bits == 5) {
    put_fifth_bits(codes, out);
    out += 4;
  }
  put_nibbles(codes, out);
}

void put_lanes(const IntLanes<kBlock>& lanes, int lane, std::int32_t* codes) {
  for (int i = 0; i < kBlock; ++i) codes[i] = lanes.element[i][lane];
}

// weight_i = importance_i * sqrt(mean square of the row, times `factor`, + x_i^2).
void weigh(const float* x, const float* importance, float sigma2, float* weight) {
  for (int i = 0; i < kBlock; ++i) weight[i] = importance[i] * std::sqrt(sigma2 + x[i] * x[i]);
}

float sum_of_squares(const float* x, std::int64_t count) {
  float sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

// Calls fit(first block, how many, x, weight) for the blocks of a row, four side by side.
template <typename Fit>
void for_four_blocks(const float* x, const float* importance, std::int64_t blocks, const Fit& fit) {
  const float sigma2 = sum_of_squares(x, blocks * kBlock) / static_cast<float>(blocks * kBlock);
  float weight[kLanes * kBlock];
  for (std::int64_t first = 0; first < blocks; first += kLanes) {
    const auto count = std::min<std::int64_t>(kLanes, blocks - first);
    for (std::int64_t b = 0; b < count; ++b)
      weigh(x + (first + b) * kBlock, importance + (first + b) * kBlock, sigma2, weight + b * kBlock);
    fit(first, count, side_by_side<kBlock>(x + first * kBlock, count), side_by_side<kBlock>(weight, count));
  }
}

// Q4_0 and Q5_0: d, then codes around 2^(bits-1).
template <int kBits>
void quantise_symmetric(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  constexpr int kHalf = 1 << (kBits - 1), kBytes = kBits == 4 ? 18 : 22;
  std::int32_t codes[kBlock];
  if (importance)
    return for_four_blocks(x, importance, blocks,
                           [&](auto first, auto count, const auto& values, const auto& weight) {
                             const auto fit = fit_symmetric<kBlock>(kHalf, values, weight);
                             for (int lane = 0; lane < count; ++lane) {
                               Byte* block = out + (first + lane) * kBytes;
                               put_half(fit.scale[lane], block);
                               put_lanes(fit.codes, lane, codes);
                               put_codes(kBits, codes, block + 2);
                             }
                           });
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, out += kBytes) {
    const float d = extreme(x) / -kHalf, inverse = inverse_or_zero(d);
    put_half(d, out);
    for (int v = 0; v < kVectors; ++v) {
      const Ints code = truncated(at(x, v) * inverse + (kHalf + 0.5f)) & 255;
      const Ints capped = select(code > 2 * kHalf - 1, all(2 * kHalf - 1), code);
      std::memcpy(codes + kLanes * v, &capped, sizeof capped);
    }
    put_codes(kBits, codes, out + 2);
  }
}

// Q4_1 and Q5_1: d, minimum, then codes from 0.
template <int kBits>
void quantise_affine(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  constexpr int kTop = (1 << kBits) - 1, kBytes = kBits == 4 ? 20 : 24;
  std::int32_t codes[kBlock];
  if (importance)
    return for_four_blocks(
        x, importance, blocks, [&](auto first, auto count, const auto& values, const auto& weight) {
          const auto fit = fit_affine<kBlock>({kTop, -0.9f, 0.05f, 36, false}, values, weight);
          for (int lane = 0; lane < count; ++lane) {
            Byte* block = out + (first + lane) * kBytes;
            put_half(fit.scale[lane], block);
            put_half(-fit.minimum[lane], block + 2);
            put_lanes(fit.codes, lane, codes);
            put_codes(kBits, codes, block + 4);
          }
        });
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, out += kBytes) {
    auto [low, high] = range(x, {x[0], x[0]});
    if (low == 0) low = *std::find(x, x + kBlock, 0.0f);  // the first zero's sign
    const float d = high == low ? 0.0f : (high - low) / kTop, inverse = inverse_or_zero(d);
    put_half(d, out);
    put_half(low, out + 2);
    for (int v = 0; v < kVectors; ++v) {
      const Ints code = truncated((at(x, v) - low) * inverse + 0.5f) & 255;
      const Ints capped = select(code > kTop, all(kTop), code);
      std::memcpy(codes + kLanes * v, &capped, sizeof capped);
    }
    put_codes(kBits, codes, out + 4);
  }
}

// Index of the nearest of kIq4Values, the upper one of two as near.
Ints nearest_iq4(Floats value) {
  Ints index = all(15);
  for (int k = 0; k < 15; ++k) index += value < 0.5f * static_cast<float>(kIq4Values[k] + kIq4Values[k + 1]);
  return index;
}

// The nearest of kIq4Values itself.
Floats round_to_iq4(Floats value) {
  Ints nearest = all(static_cast<std::int32_t>(kIq4Values[15]));
  for (int k = 0; k < 15; ++k) {
    const Ints below = value < 0.5f * static_cast<float>(kIq4Values[k] + kIq4Values[k + 1]);
    nearest -= below & (kIq4Values[k + 1] - kIq4Values[k]);
  }
  return to_float(nearest);
}

// Scales of four blocks: the extreme on the grid's end, and fifteen step sizes about it, each fitted by
// weighted least squares.
Floats fit_iq4(const FloatLanes<kBlock>& x, const FloatLanes<kBlock>& weight) {
  Floats peak = all(0.0f);
  for (const Floats value : x.element) peak = select(magnitude(value) > magnitude(peak), value, peak);
  Floats scale = all(0.0f), score = all(0.0f);
  const auto sums_of = [&](Floats inverse, Floats& qx, Floats& q2) {
    qx = q2 = all(0.0f);
    for (int i = 0; i < kBlock; ++i) {
      const Floats q = round_to_iq4(inverse * x.element[i]), wq = weight.element[i] * q;
      qx += wq * x.element[i];
      q2 += wq * q;
    }
  };
  Floats qx, q2;
  sums_of(1.0f / (-peak / static_cast<float>(kIq4Values[0])), qx, q2);
  scale = select(q2 > 0.0f, qx / q2, all(0.0f));
  score = scale * qx;
  for (int step = -7; step <= 7; ++step) {
    sums_of(static_cast<float>(step + kIq4Values[0]) / peak, qx, q2);
    const Ints better = (q2 > 0.0f) & (qx * qx > score * q2);
    scale = select(better, qx / q2, scale);
    score = select(better, scale * qx, score);
  }
  return select(magnitude(peak) < 1e-15f, all(0.0f), scale);
}

}  // namespace

void quantise_q4_0(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  quantise_symmetric<4>(x, importance, blocks, out);
}
void quantise_q5_0(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  quantise_symmetric<5>(x, importance, blocks, out);
}
void quantise_q4_1(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  quantise_affine<4>(x, importance, blocks, out);
}
void quantise_q5_1(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  quantise_affine<5>(x, importance, blocks, out);
}

void quantise_q8_0(const float* x, const float*, std::int64_t blocks, Byte* out) {
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, out += 34) {
    const auto [low, high] = range(x, {0.0f, 0.0f});
    const float d = std::max(high, -low) / 127, inverse = inverse_or_zero(d);
    put_half(d, out);
    std::int32_t codes[kBlock];
    for (int v = 0; v < kVectors; ++v) {  // half away from zero
      const Floats value = at(x, v) * inverse;
      Ints code = truncated(value);
      const Floats rest = value - to_float(code);
      code = select(magnitude(value) < 65536.0f, code + ((rest <= -0.5f) - (rest >= 0.5f)), all(0));
      std::memcpy(codes + kLanes * v, &code, sizeof code);
    }
    for (int i = 0; i < kBlock; ++i) out[2 + i] = static_cast<Byte>(codes[i]);
  }
}

void quantise_iq4_nl(const float* x, const float* importance, std::int64_t blocks, Byte* out) {
  float weight[kLanes * kBlock];
  for (std::int64_t first = 0; first < blocks; first += kLanes) {
    const auto count = std::min<std::int64_t>(kLanes, blocks - first);
    for (std::int64_t b = 0; b < count; ++b) {
      const float *values = x + (first + b) * kBlock,
                  sigma2 = sum_of_squares(values, kBlock) * (2.0f / kBlock);
      if (importance)
        weigh(values, importance + (first + b) * kBlock, sigma2, weight + b * kBlock);
      else
        for (int i = 0; i < kBlock; ++i) weight[b * kBlock + i] = values[i] * values[i];
    }
    const auto scale =
        fit_iq4(side_by_side<kBlock>(x + first * kBlock, count), side_by_side<kBlock>(weight, count));
    for (int lane = 0; lane < count; ++lane) {
      Byte* block = out + (first + lane) * 18;
      put_half(scale[lane], block);
      const float inverse = inverse_or_zero(scale[lane]);
      std::int32_t codes[kBlock];
      for (int v = 0; v < kVectors; ++v) {
        const Ints code = nearest_iq4(inverse * at(x + (first + lane) * kBlock, v));
        std::memcpy(codes + kLanes * v, &code, sizeof code);
      }
      put_nibbles(codes, block + 2);
    }
  }
}

void quantise_mxfp4(const float* x, const float*, std::int64_t blocks, Byte* out) {
  for (std::int64_t b = 0; b < blocks; ++b, x += kBlock, out += 17) {
    const auto [low, high] = range(x, {0.0f, 0.0f});
    const float largest = std::max(high, -low), exponent = std::floor(std::log2(largest)) - 2 + 127;
    out[0] = largest > 0 && std::isfinite(exponent) ? static_cast<Byte>(static_cast<int>(exponent)) : 0;
    const float d = half_of_e8m0(out[0]);
    float middle[7];  // between neighbouring magnitudes; both halves are exact
    for (int k = 0; k < 7; ++k)
      middle[k] =
          0.5f * (d * static_cast<float>(kFp4Values[k])) + 0.5f * (d * static_cast<float>(kFp4Values[k + 1]));
    std::int32_t codes[kBlock];
    for (int v = 0; v < kVectors; ++v) {
      Ints code = all(0);
      for (const float m : middle) code -= magnitude(at(x, v)) > m;
      code |= (at(x, v) < 0.0f) & (code > 0) & 8;
      std::memcpy(codes + kLanes * v, &code, sizeof code);
    }
    put_nibbles(codes, out + 1);
  }
}

}  // namespace wring

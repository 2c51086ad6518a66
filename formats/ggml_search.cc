// Scale searches, operation by operation in ggml's order: any other order of the sums gives other bytes.
#include "formats/ggml_search.h"

namespace wring {
namespace {

constexpr float kAllZero = 1e-15f;  // a block whose largest magnitude is below has codes and scale 0
constexpr int kTurns = 5;

Floats error_of(Floats difference, bool absolute) {
  return absolute ? magnitude(difference) : difference * difference;
}

// The value of largest magnitude; of several the first.
template <int N>
Floats extreme(const FloatLanes<N>& x) {
  Floats extreme = all(0.0f), largest = all(0.0f);
  for (const Floats value : x.element) {
    const Ints larger = magnitude(value) > largest;
    largest = select(larger, magnitude(value), largest);
    extreme = select(larger, value, extreme);
  }
  return extreme;
}

// Sums of weight * x * code and weight * code^2.
struct Moments {
  Floats xl = all(0.0f), l2 = all(0.0f);

  void add(Floats weight, Floats weight_x, Ints code) {
    const Floats l = to_float(code);
    xl += weight_x * l;
    l2 += weight * l * l;
  }

  Moments without(Floats weight, Floats weight_x, Ints code) const {
    const Floats l = to_float(code);
    return {xl - weight_x * l, l2 - weight * l * l};
  }

  // Takes `others` in the lanes where it is better.
  void adopt(Ints better, const Moments& others) {
    xl = select(better, others.xl, xl);
    l2 = select(better, others.l2, l2);
  }

  // The best scale for these codes; 0 in the lanes that are not kept.
  Floats scale(Ints kept) const { return select((l2 > 0.0f) & kept, xl / l2, all(0.0f)); }
};

template <int N>
FloatLanes<N> product(const FloatLanes<N>& a, const FloatLanes<N>& b) {
  FloatLanes<N> ab;
  for (int i = 0; i < N; ++i) ab.element[i] = a.element[i] * b.element[i];
  return ab;
}

}  // namespace

template <int N>
AffineFit<N> fit_affine(const AffineSearch& search, const FloatLanes<N>& x, const FloatLanes<N>& weight) {
  Floats low = x.element[0], high = x.element[0], sum_w = weight.element[0],
         sum_x = weight.element[0] * x.element[0];
  for (int i = 1; i < N; ++i) {
    low = select(x.element[i] < low, x.element[i], low);
    high = select(x.element[i] > high, x.element[i], high);
    sum_w += weight.element[i];
    sum_x += weight.element[i] * x.element[i];
  }
  low = select(low > 0.0f, all(0.0f), low);
  const Ints flat = high == low;

  AffineFit<N> best;
  Floats minimum = low, least_error = all(0.0f);
  const auto top = static_cast<float>(search.top);
  const Floats inverse = top / (high - low);
  best.scale = 1.0f / inverse;
  for (int i = 0; i < N; ++i) {
    best.codes.element[i] = clamp(nearest(inverse * (x.element[i] - low)), 0, search.top);
    const Floats difference = best.scale * to_float(best.codes.element[i]) + low - x.element[i];
    least_error += weight.element[i] * error_of(difference, search.absolute_error);
  }
  for (int step = 0; step <= search.steps; ++step) {
    const Floats factor = (search.first + search.step * static_cast<float>(step) + top) / (high - minimum);
    FloatLanes<N> codes;
    Floats sum_l = all(0.0f), sum_l2 = all(0.0f), sum_xl = all(0.0f);
    for (int i = 0; i < N; ++i) {
      codes.element[i] = to_float(clamp(nearest(factor * (x.element[i] - minimum)), 0, search.top));
      const Floats wl = weight.element[i] * codes.element[i];
      sum_l += wl;
      sum_l2 += wl * codes.element[i];
      sum_xl += wl * x.element[i];
    }
    const Floats determinant = sum_w * sum_l2 - sum_l * sum_l;
    Floats scale = (sum_w * sum_xl - sum_x * sum_l) / determinant,
           offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    const Ints above = offset > 0.0f;
    scale = select(above, sum_xl / sum_l2, scale);
    offset = select(above, all(0.0f), offset);
    Floats error = all(0.0f);
    for (int i = 0; i < N; ++i)
      error += weight.element[i] *
               error_of(scale * codes.element[i] + offset - x.element[i], search.absolute_error);
    const Ints better = (determinant > 0.0f) & (error < least_error);
    if (!any(better)) continue;
    for (int i = 0; i < N; ++i)
      best.codes.element[i] =
          select(better, __builtin_convertvector(codes.element[i], Ints), best.codes.element[i]);
    least_error = select(better, error, least_error);
    best.scale = select(better, scale, best.scale);
    minimum = select(better, offset, minimum);
  }
  for (auto& code : best.codes.element) code &= ~flat;
  best.scale = select(flat, all(0.0f), best.scale);
  best.minimum = -select(flat, low, minimum);
  return best;
}

template <int N>
SymmetricFit<N> fit_symmetric(int half, const FloatLanes<N>& x, const FloatLanes<N>& weight) {
  const Floats peak = extreme<N>(x);
  const Ints zero = magnitude(peak) < kAllZero;
  const auto weight_x = product<N>(weight, x);
  const auto top = static_cast<float>(half);
  const auto code = [&](Floats inverse, int i) {
    return clamp(nearest(inverse * x.element[i]), -half, half - 1);
  };

  Floats inverse = -top / peak;
  Moments sums;
  for (int i = 0; i < N; ++i) sums.add(weight.element[i], weight_x.element[i], code(inverse, i));
  SymmetricFit<N> best;
  best.scale = select(sums.l2 == 0.0f, all(0.0f), sums.xl / sums.l2);
  Floats score = best.scale * sums.xl, best_inverse = inverse;
  for (int step = -9; step <= 9; ++step) {
    if (step == 0) continue;
    inverse = -(top + 0.1f * static_cast<float>(step)) / peak;
    Moments tried;
    for (int i = 0; i < N; ++i) tried.add(weight.element[i], weight_x.element[i], code(inverse, i));
    const Ints better = (tried.l2 > 0.0f) & (tried.xl * tried.xl > score * tried.l2);
    best_inverse = select(better, inverse, best_inverse);
    best.scale = select(better, tried.xl / tried.l2, best.scale);
    score = select(better, best.scale * tried.xl, score);
  }
  for (int i = 0; i < N; ++i) best.codes.element[i] = (code(best_inverse, i) + half) & ~zero;
  best.scale = select(zero, all(0.0f), best.scale);
  return best;
}

template <int N>
SymmetricFit<N> fit_symmetric_by_turns(int half, const FloatLanes<N>& x) {
  const Floats peak = extreme<N>(x), inverse = -static_cast<float>(half) / peak;
  const Ints zero = magnitude(peak) < kAllZero;
  const auto weight = product<N>(x, x), weight_x = product<N>(weight, x);
  SymmetricFit<N> best;
  Moments sums;
  for (int i = 0; i < N; ++i) {
    best.codes.element[i] = clamp(nearest(inverse * x.element[i]), -half, half - 1);
    sums.add(weight.element[i], weight_x.element[i], best.codes.element[i]);
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    Ints changed = all(0);
    for (int i = 0; i < N; ++i) {
      Moments others = sums.without(weight.element[i], weight_x.element[i], best.codes.element[i]);
      const Ints code = clamp(nearest(x.element[i] * others.l2 / others.xl), -half, half - 1);
      Ints better = (others.xl > 0.0f) & (code != best.codes.element[i]);
      others.add(weight.element[i], weight_x.element[i], code);
      better &= (others.l2 > 0.0f) & (others.xl * others.xl * sums.l2 > sums.xl * sums.xl * others.l2);
      best.codes.element[i] = select(better, code, best.codes.element[i]);
      sums.adopt(better, others);
      changed |= better;
    }
    if (!any(changed)) break;
  }
  for (auto& code : best.codes.element) code = (code + half) & ~zero;
  best.scale = sums.scale(~zero);
  return best;
}

template <int N>
SymmetricFit<N> fit_positive(int top, const FloatLanes<N>& x, const FloatLanes<N>& weight) {
  Floats peak = all(0.0f);
  for (const Floats value : x.element) peak = select(peak > value, peak, value);
  const Ints zero = peak < kAllZero;
  const auto weight_x = product<N>(weight, x);
  const auto squared_error = [&](Floats inverse, bool capped) {
    const Floats scale = 1.0f / inverse;
    Floats error = all(0.0f);
    for (int i = 0; i < N; ++i) {
      Ints code = nearest(inverse * x.element[i]);
      code = capped ? select(code > top, all(top), code) : code & 255;
      const Floats difference = x.element[i] - scale * to_float(code);
      error += weight.element[i] * difference * difference;
    }
    return error;
  };
  Floats inverse = static_cast<float>(top) / peak, least_error = squared_error(inverse, false);
  for (int step = -4; step <= 4; ++step) {
    if (step == 0) continue;
    const Floats tried = (0.1f * static_cast<float>(step) + static_cast<float>(top)) / peak,
                 error = squared_error(tried, true);
    const Ints better = error < least_error;
    least_error = select(better, error, least_error);
    inverse = select(better, tried, inverse);
  }
  SymmetricFit<N> best;
  Moments sums;
  for (int i = 0; i < N; ++i) {
    const Ints code = nearest(inverse * x.element[i]), capped = select(code > top, all(top), code);
    sums.add(weight.element[i], weight_x.element[i], capped);
    best.codes.element[i] = capped & 255;
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    Ints changed = all(0);
    for (int i = 0; i < N; ++i) {
      Moments others = sums.without(weight.element[i], weight_x.element[i], best.codes.element[i]);
      const Ints wanted = nearest(x.element[i] * others.l2 / others.xl),
                 code = select(wanted > top, all(top), wanted);
      Ints better = (others.xl > 0.0f) & (others.l2 > 0.0f) & (code != best.codes.element[i]);
      others.add(weight.element[i], weight_x.element[i], code);
      better &= others.xl * others.xl * sums.l2 > sums.xl * sums.xl * others.l2;
      best.codes.element[i] = select(better, code & 255, best.codes.element[i]);
      sums.adopt(better, others);
      changed |= better;
    }
    if (!any(changed)) break;
  }
  for (auto& code : best.codes.element) code &= ~zero;
  best.scale = sums.scale(~zero);
  return best;
}

template AffineFit<16> fit_affine(const AffineSearch&, const FloatLanes<16>&, const FloatLanes<16>&);
template AffineFit<32> fit_affine(const AffineSearch&, const FloatLanes<32>&, const FloatLanes<32>&);
template SymmetricFit<16> fit_symmetric(int, const FloatLanes<16>&, const FloatLanes<16>&);
template SymmetricFit<32> fit_symmetric(int, const FloatLanes<32>&, const FloatLanes<32>&);
template SymmetricFit<16> fit_symmetric_by_turns(int, const FloatLanes<16>&);
template SymmetricFit<8> fit_positive(int, const FloatLanes<8>&, const FloatLanes<8>&);
template SymmetricFit<16> fit_positive(int, const FloatLanes<16>&, const FloatLanes<16>&);

}  // namespace wring

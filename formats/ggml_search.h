// The scale searches of ggml's quantisers, for four blocks of N values at once (ggml-quants.c:
// make_*_quants).
#pragma once

#include "formats/ggml_lanes.h"

namespace wring {

// x is about scale * code - minimum, with codes from 0 to `top`.
template <int N>
struct AffineFit {
  IntLanes<N> codes;
  Floats scale, minimum;
};

// Tries the step sizes range / (top + first + i * step), i from 0 to `steps`, and fits scale and minimum to
// each by weighted least squares.
struct AffineSearch {
  int top;
  float first, step;
  int steps;
  bool absolute_error;  // else squared
};
template <int N>
AffineFit<N> fit_affine(const AffineSearch& search, const FloatLanes<N>& x, const FloatLanes<N>& weight);

// x is about scale * (code - half), with codes from 0 to 2 * half - 1.
template <int N>
struct SymmetricFit {
  IntLanes<N> codes;
  Floats scale;
};

// Tries nineteen step sizes about |x|max / half, and fits the scale to each by weighted least squares.
template <int N>
SymmetricFit<N> fit_symmetric(int half, const FloatLanes<N>& x, const FloatLanes<N>& weight);

// Weighs by x^2, and then improves one code at a time, five times at most.
template <int N>
SymmetricFit<N> fit_symmetric_by_turns(int half, const FloatLanes<N>& x);

// x from 0 is about scale * code, with codes from 0 to `top`: nine step sizes, then one code at a time.
template <int N>
SymmetricFit<N> fit_positive(int top, const FloatLanes<N>& x, const FloatLanes<N>& weight);

}  // namespace wring

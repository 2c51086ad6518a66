// Second-order statistics of a layer's input, gathered over the calibration set.
#pragma once

#include <ATen/ATen.h>

#include <set>

namespace wring {

enum class Statistic { kInputNorm, kHessian };

// Sums over all calibration rows x of one tap. fp32 values, fp32 sums over fixed row blocks added in fp64 for the norms.
// Not thread-safe.
class Statistics {
 public:
  Statistics(std::int64_t features, std::set<Statistic> wanted, at::Device device);

  void add(const at::Tensor& x);  // [rows, features]

  std::int64_t rows() const { return rows_; }
  std::int64_t features() const { return features_; }

  // sqrt(sum x_j^2), [in] fp32: ||x_j||_2 of Wanda's equation 1.
  at::Tensor input_norm() const;

  // H = (2 / rows) X^T X, [in, in] fp32, symmetric: the Hessian of the layer's squared error (GPTQ, section 2).
  at::Tensor hessian() const;

 private:
  std::int64_t features_, rows_ = 0;
  std::set<Statistic> wanted_;
  at::Tensor squares_;  // [in] fp64
  at::Tensor gram_;     // [in, in] fp32
};

}  // namespace wring

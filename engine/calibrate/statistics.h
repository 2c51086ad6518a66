// Second-order statistics of a layer's input, gathered over the calibration set.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/math/cholesky.h"
#include "engine/model/weight_rep.h"

namespace wring {

enum class Statistic { kInputNorm, kInputMagnitude, kHessian, kMoments, kInputValues };

// As specs call it.
std::string name_of(Statistic statistic);
Statistic statistic_named(const std::string& name);  // throws Error(kInvalidArgument, "UNKNOWN_STATISTIC")

// Different values, ascending, and how often each came: fp64 [n] both.
struct ValueCounts {
  at::Tensor values, counts;
};

// Sums over all calibration rows x of one tap. Rows are summed in fixed blocks of kRowBlock, in order,
// however they are cut into calls of add(): fp32 sums within a block, fp64 across blocks for norms and
// magnitudes, fp32 for the Hessian, fp64 throughout for the moments. add() is not thread-safe; once
// everything is added, any thread may read.
class Statistics {
 public:
  static constexpr std::int64_t kRowBlock = 2048;

  Statistics(std::int64_t features, std::set<Statistic> wanted, at::Device device);

  void add(const at::Tensor& x);  // [rows, features]

  // The sums, once everything is added; and back, with the same bits. The Hessian's are a triangle by rows.
  std::vector<NamedTensor> tensors() const;
  // Throws Error(kDataLoss, "BAD_STATISTICS") where one of `wanted` is missing or of another shape.
  static std::unique_ptr<Statistics> restore(const std::map<std::string, at::Tensor>& tensors,
                                             const std::set<Statistic>& wanted, at::Device device);

  std::int64_t rows() const { return rows_; }
  std::int64_t features() const { return features_; }
  at::Device device() const { return device_; }  // of the sums

  // sqrt(sum x_j^2), [in] fp32: ||x_j||_2 of Wanda's equation 1.
  at::Tensor input_norm() const;

  // mean |x_j|, [in] fp32.
  at::Tensor input_magnitude() const;

  // Mean and variance (over all rows: divided by their number) of each feature, [in] fp64.
  at::Tensor mean() const;
  at::Tensor variance() const;

  // Of all features together; values are rounded to bfloat16, which keeps them within 2^-9 of themselves.
  ValueCounts value_counts() const;

  // H = (2 / rows) X^T X, [in, in] fp32, symmetric: the Hessian of the layer's squared error (GPTQ, section
  // 2).
  at::Tensor hessian() const;

  // The factor of the damped Hessian's inverse (see invert_damped), made once and shared by all layers with
  // this input.
  std::shared_ptr<const InverseFactor> inverse_factor(double damping, bool descending) const;

 private:
  void sum_block(const at::Tensor& block) const;  // [at most kRowBlock, features]
  void sum_pending() const;

  std::int64_t features_, rows_ = 0;
  at::Device device_;
  std::set<Statistic> wanted_;
  mutable std::mutex mutex_;                               // of everything below, once everything is added
  mutable at::Tensor squares_;                             // [in] fp64
  mutable at::Tensor magnitudes_;                          // [in] fp64
  mutable at::Tensor value_counts_;                        // [2^16] fp64, by the bits of a bfloat16
  mutable at::Tensor gram_;                                // [in, in] fp32, lower triangle of X^T X
  mutable at::Tensor origin_, moved_sum_, moved_squares_;  // [in] fp64: the first row; sums of x less it
  mutable at::Tensor pending_;                             // [kRowBlock, in]: rows of a block not yet full
  mutable std::int64_t pending_rows_ = 0;
  mutable at::Tensor hessian_;  // undefined until it is asked for
  mutable std::map<std::pair<double, bool>, std::shared_ptr<const InverseFactor>> factors_;
};

}  // namespace wring

// Symbols are the paper's: M the columns of one group, B = ((H^-1)_MM)^-1.
#include "engine/methods/structured/surgeon.h"

#include <algorithm>
#include <limits>

#include "engine/math/cholesky.h"

namespace wring {
namespace {

// Groups [n] -> their columns [n * width].
at::Tensor columns_of(const at::Tensor& groups, std::int64_t width) {
  return (groups.unsqueeze(1) * width + at::arange(width, at::kLong)).flatten();
}

constexpr std::int64_t kLag = 64;

// Downdates of an inverse drift, so they are fp64, though the inverse comes of an fp32 factor. Matrices lag
// behind by up to kLag columns, which are taken off in one product; a column or row that is needed before is
// brought up to date by itself.
class Surgeon {
 public:
  Surgeon(at::Tensor weight, at::Tensor inverse, std::int64_t width)
      : width_(width), weight_(std::move(weight)), inverse_(std::move(inverse)) {
    groups_ = at::arange(weight_.size(1) / width_, at::kLong);
    gone_ = at::zeros({groups_.numel()}, at::kBool);
    left_ = groups_.numel();
    begin();
  }

  std::int64_t left() const { return left_; }
  const at::Tensor& groups() const { return groups_; }
  const at::Tensor& weight() const { return weight_; }

  // W -= W_M B (H^-1)_M:, H^-1 -= (H^-1)_:M B (H^-1)_M:, of the group of least score. What both hold of M
  // is of no use from then on: nothing that stays is made of it.
  void remove_one() {
    const auto group = scores().masked_fill_(gone_, kNever).argmin().item<std::int64_t>();
    const at::Tensor late_rows = rows_.narrow(0, 0, lag_), late_steps = steps_.narrow(0, 0, lag_),
                     late_columns = columns_.narrow(1, 0, lag_);
    const at::Tensor rows =
                         of_group(inverse_, 0, group) - at::mm(of_group(late_rows, 1, group).t(), late_steps),
                     columns =
                         of_group(weight_, 1, group) - at::mm(late_columns, of_group(late_steps, 1, group)),
                     step = at::mm(inverse_of(of_group(rows, 1, group)), rows);
    if (width_ == 1) {
      const at::Tensor products =
          at::mm(columns.t(), weight_) - at::mm(at::mm(columns.t(), late_columns), late_steps);
      squares_ += (step.square() * columns.square().sum() - 2 * step * products)[0];
      diagonal_ -= (rows * step)[0];
    }
    rows_.narrow(0, lag_, width_).copy_(rows);
    steps_.narrow(0, lag_, width_).copy_(step);
    columns_.narrow(1, lag_, width_).copy_(columns);
    lag_ += width_;
    gone_[group] = true;
    --left_;
    if (width_ > 1 || lag_ == kLag) catch_up();
  }

  // Brings W up to date and forgets what is gone.
  void compact() {
    catch_up();
    const at::Tensor stay = gone_.logical_not().nonzero().flatten(), columns = columns_of(stay, width_);
    weight_ = weight_.index_select(1, columns);
    inverse_ = inverse_.index_select(0, columns).index_select(1, columns);
    groups_ = groups_.index_select(0, stay);
    gone_ = gone_.index_select(0, stay);
    begin();
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  void begin() {
    const std::int64_t most = std::max(kLag, width_);
    rows_ = at::empty({most, weight_.size(1)}, at::kDouble);
    steps_ = at::empty_like(rows_);
    columns_ = at::empty({weight_.size(0), most}, at::kDouble);
    squares_ = weight_.square().sum(0);
    diagonal_ = inverse_.diagonal().clone();
  }

  void catch_up() {
    const at::Tensor steps = steps_.narrow(0, 0, lag_);
    weight_.addmm_(columns_.narrow(1, 0, lag_), steps, 1, -1);
    inverse_.addmm_(rows_.narrow(0, 0, lag_).t(), steps, 1, -1);
    lag_ = 0;
  }

  at::Tensor of_group(const at::Tensor& matrix, std::int64_t axis, std::int64_t group) const {
    return matrix.narrow(axis, group * width_, width_);
  }

  static at::Tensor inverse_of(const at::Tensor& block) {
    return block.numel() == 1 ? block.reciprocal() : at::cholesky_inverse(at::linalg_cholesky(block));
  }

  // sum_i W_iM B W_iM^T of those that are left: by how much the squared error grows without each.
  at::Tensor scores() const {
    if (width_ == 1) return squares_ / diagonal_;
    at::Tensor scores = at::full({groups_.numel()}, kNever, at::kDouble);
    for (std::int64_t group = 0; group < scores.numel(); ++group) {
      if (gone_[group].item<bool>()) continue;
      const at::Tensor w = of_group(weight_, 1, group),
                       b = inverse_of(of_group(of_group(inverse_, 0, group), 1, group));
      scores[group] = (at::mm(w, b) * w).sum();
    }
    return scores;
  }

  std::int64_t width_, left_ = 0, lag_ = 0;
  at::Tensor weight_, inverse_;        // [out, n * width], [n * width, n * width]
  at::Tensor groups_, gone_;           // [n]: numbers; whether it is gone
  at::Tensor rows_, steps_, columns_;  // of H^-1, B times them, and of W: of the lag
  at::Tensor squares_, diagonal_;      // [n * width] of W's columns and of H^-1, where the width is 1
};

}  // namespace

void prune_columns(const at::Tensor& weight, const at::Tensor& hessian, std::int64_t width, double damping,
                   const std::vector<std::int64_t>& counts,
                   const std::function<void(const PrunedColumns&)>& each) {
  const at::Tensor h = hessian.cpu().to(at::kDouble), w = weight.cpu().to(at::kDouble);
  const InverseFactor factor = invert_damped(h, damping, /*descending=*/false);
  const at::Tensor upper = factor.upper.to(at::kDouble);
  Surgeon surgeon(w.masked_fill(factor.dead, 0), at::mm(upper.t(), upper), width);
  // tr((W' - W) H (W' - W)^T), of which W H is the same throughout.
  const at::Tensor product = at::mm(w, h);
  const double whole = (product * w).sum().item<double>();
  for (const std::int64_t count : counts) {
    while (surgeon.left() > count) surgeon.remove_one();
    surgeon.compact();
    const at::Tensor columns = columns_of(surgeon.groups(), width), &pruned = surgeon.weight();
    const at::Tensor among_kept = h.index_select(0, columns).index_select(1, columns);
    const double lost =
        whole +
        ((at::mm(pruned, among_kept) - 2 * product.index_select(1, columns)) * pruned).sum().item<double>();
    each({surgeon.groups(), pruned, whole > 0 ? std::max(0.0, lost) / whole : 0});
  }
}

}  // namespace wring

// Gathering second-order statistics in fixed row blocks, and what is derived from them.
#include "engine/calibrate/statistics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "common/error.h"
#include "engine/math/elementwise.h"
#include "engine/math/matmul.h"

namespace wring {
namespace {

constexpr std::int64_t kPanel = 192;  // rows of X^T X computed at a time, up to the diagonal

[[noreturn]] void throw_not_wanted(const char* what) {
  throw Error(ErrorCode::kInternal, "STATISTIC", std::string(what) + " was asked for, but not gathered");
}

constexpr std::array<std::pair<Statistic, const char*>, 5> kNames{
    {{Statistic::kInputNorm, "input-norm"},
     {Statistic::kInputMagnitude, "input-magnitude"},
     {Statistic::kHessian, "hessian"},
     {Statistic::kMoments, "moments"},
     {Statistic::kInputValues, "input-values"}}};

constexpr std::int64_t kHalfWords = 1 << 16,
                       kNegative = kHalfWords / 2;  // bfloat16: the sign is the first bit

// The bits of bfloat16s, as numbers.
at::Tensor bits_of(const at::Tensor& x) {
  return x.to(at::kBFloat16).contiguous().view(at::kShort).to(at::kInt).bitwise_and_(kHalfWords - 1);
}

std::int64_t triangle_size(std::int64_t n) {
  return n * (n + 1) / 2;
}

// Copies the lower triangle of `square` [n, n] to or from its rows one after the other.
void copy_triangle(at::Tensor& square, at::Tensor& rows, bool pack) {
  const std::int64_t n = square.size(0);
  float *const matrix = square.mutable_data_ptr<float>(), *packed = rows.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < n; packed += ++i) {
    float* const row = matrix + i * n;
    std::copy_n(pack ? row : packed, i + 1, pack ? packed : row);
  }
}

at::Tensor pack_triangle(const at::Tensor& square) {
  at::Tensor matrix = square.cpu(), rows = at::empty({triangle_size(square.size(0))}, at::kFloat);
  copy_triangle(matrix, rows, /*pack=*/true);
  return rows;
}

at::Tensor unpack_triangle(at::Tensor rows, std::int64_t n) {
  at::Tensor matrix = at::zeros({n, n}, at::kFloat);
  copy_triangle(matrix, rows, /*pack=*/false);
  return matrix;
}

// ATen copies a transposed view in one thread; here each takes some columns.
at::Tensor transpose(const at::Tensor& block) {
  if (!block.is_cpu()) return block.t().contiguous();
  at::Tensor transposed = at::empty({block.size(1), block.size(0)}, block.options());
  const bool inference = c10::InferenceMode::is_enabled();  // a property of threads: the others must be told
  at::parallel_for(0, block.size(1), 64, [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode guard(inference);
    transposed.narrow(0, begin, end - begin).copy_(block.narrow(1, begin, end - begin).t());
  });
  return transposed;
}

}  // namespace

std::string name_of(Statistic statistic) {
  for (const auto& [value, name] : kNames)
    if (value == statistic) return name;
  return "";
}

Statistic statistic_named(const std::string& name) {
  for (const auto& [value, known] : kNames)
    if (name == known) return value;
  throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_STATISTIC", "'" + name + "' is no statistic");
}

std::vector<NamedTensor> Statistics::tensors() const {
  const std::lock_guard lock(mutex_);
  sum_pending();
  std::vector<NamedTensor> named{{"size", at::tensor({rows_, features_}, at::kLong)}};
  if (squares_.defined()) named.push_back({"squares", squares_});
  if (magnitudes_.defined()) named.push_back({"magnitudes", magnitudes_});
  if (value_counts_.defined()) named.push_back({"values", value_counts_});
  if (gram_.defined()) named.push_back({"gram", pack_triangle(gram_)});
  if (moved_sum_.defined()) {
    named.push_back({"origin", origin_.defined() ? origin_ : at::zeros_like(moved_sum_)});
    named.push_back({"moved_sum", moved_sum_});
    named.push_back({"moved_squares", moved_squares_});
  }
  return named;
}

std::unique_ptr<Statistics> Statistics::restore(const std::map<std::string, at::Tensor>& tensors,
                                                const std::set<Statistic>& wanted, at::Device device) {
  const auto find = [&](const char* name, std::int64_t numel, at::ScalarType dtype) {
    const auto it = tensors.find(name);
    if (it == tensors.end() || it->second.numel() != numel || it->second.scalar_type() != dtype)
      throw Error(ErrorCode::kDataLoss, "BAD_STATISTICS",
                  std::string("stored statistics lack '") + name + "', or it is of another shape");
    return it->second;
  };
  const at::Tensor size = find("size", 2, at::kLong);
  const std::int64_t n = size[1].item<std::int64_t>();
  auto restored = std::make_unique<Statistics>(n, std::set<Statistic>{}, device);
  restored->wanted_ = wanted;
  restored->rows_ = size[0].item<std::int64_t>();
  const auto sums = [&](const char* name) { return find(name, n, at::kDouble).to(device); };
  if (wanted.contains(Statistic::kInputNorm)) restored->squares_ = sums("squares");
  if (wanted.contains(Statistic::kInputMagnitude)) restored->magnitudes_ = sums("magnitudes");
  if (wanted.contains(Statistic::kInputValues))
    restored->value_counts_ = find("values", kHalfWords, at::kDouble).to(device);
  if (wanted.contains(Statistic::kHessian))
    restored->gram_ = unpack_triangle(find("gram", triangle_size(n), at::kFloat), n).to(device);
  if (wanted.contains(Statistic::kMoments)) {
    restored->origin_ = sums("origin");
    restored->moved_sum_ = sums("moved_sum");
    restored->moved_squares_ = sums("moved_squares");
  }
  return restored;
}

Statistics::Statistics(std::int64_t features, std::set<Statistic> wanted, at::Device device)
    : features_(features), device_(device), wanted_(std::move(wanted)) {
  const auto options = at::device(device).dtype(at::kFloat);
  if (wanted_.contains(Statistic::kInputNorm)) squares_ = at::zeros({features}, options.dtype(at::kDouble));
  if (wanted_.contains(Statistic::kInputMagnitude))
    magnitudes_ = at::zeros({features}, options.dtype(at::kDouble));
  if (wanted_.contains(Statistic::kMoments)) {
    moved_sum_ = at::zeros({features}, options.dtype(at::kDouble));
    moved_squares_ = at::zeros_like(moved_sum_);
  }
  if (wanted_.contains(Statistic::kInputValues))
    value_counts_ = at::zeros({kHalfWords}, options.dtype(at::kDouble));
  if (wanted_.contains(Statistic::kHessian)) gram_ = at::zeros({features, features}, options);
}

void Statistics::add(const at::Tensor& x) {
  if (x.dim() != 2 || x.size(1) != features_)
    throw Error(ErrorCode::kInternal, "STATISTIC", "inputs of another width than the layer's");
  hessian_ = at::Tensor();
  factors_.clear();
  for (std::int64_t taken = 0; taken < x.size(0);) {
    const std::int64_t count = std::min(kRowBlock - pending_rows_, x.size(0) - taken);
    const at::Tensor piece = x.narrow(0, taken, count);
    taken += count;
    if (count == kRowBlock) {
      sum_block(piece);
      continue;
    }
    if (!pending_.defined()) pending_ = at::empty({kRowBlock, features_}, x.options());
    pending_.narrow(0, pending_rows_, count).copy_(piece);
    pending_rows_ += count;
    if (pending_rows_ == kRowBlock) sum_pending();
  }
  rows_ += x.size(0);
}

void Statistics::sum_pending() const {
  if (pending_rows_ > 0) sum_block(pending_.narrow(0, 0, pending_rows_));
  pending_rows_ = 0;
}

void Statistics::sum_block(const at::Tensor& block) const {
  if (squares_.defined()) add_column_squares(block, squares_);
  if (magnitudes_.defined()) magnitudes_.add_(block.abs().sum(0, /*keepdim=*/false, at::kFloat));
  if (moved_sum_.defined()) {
    if (!origin_.defined()) origin_ = block[0].to(at::kDouble);
    const at::Tensor moved = block.to(at::kDouble).sub_(origin_);
    moved_sum_.add_(moved.sum(0));
    moved_squares_.add_(moved.square().sum(0));
  }
  if (value_counts_.defined()) value_counts_.add_(at::bincount(bits_of(block).reshape({-1}), {}, kHalfWords));
  if (!gram_.defined()) return;
  const at::Tensor transposed = transpose(block.to(at::kFloat));
  for (std::int64_t first = 0; first < features_; first += kPanel) {
    const std::int64_t count = std::min(kPanel, features_ - first);
    gram_.narrow(0, first, count)
        .narrow(1, 0, first + count)
        .add_(wring::linear(transposed.narrow(0, first, count), transposed.narrow(0, 0, first + count)));
  }
}

at::Tensor Statistics::input_norm() const {
  if (!squares_.defined()) throw_not_wanted("the input norm");
  const std::lock_guard lock(mutex_);
  sum_pending();
  return squares_.sqrt().to(at::kFloat);
}

at::Tensor Statistics::input_magnitude() const {
  if (!magnitudes_.defined()) throw_not_wanted("the input's magnitude");
  const std::lock_guard lock(mutex_);
  sum_pending();
  return (magnitudes_ / static_cast<double>(std::max<std::int64_t>(1, rows_))).to(at::kFloat);
}

at::Tensor Statistics::mean() const {
  if (!moved_sum_.defined()) throw_not_wanted("the mean");
  const std::lock_guard lock(mutex_);
  sum_pending();
  return rows_ > 0 ? origin_ + moved_sum_ / rows_ : moved_sum_.clone();
}

// Of x less its first row: what varies little around a large mean loses no digits, and what is constant has
// none.
at::Tensor Statistics::variance() const {
  if (!moved_sum_.defined()) throw_not_wanted("the variance");
  const std::lock_guard lock(mutex_);
  sum_pending();
  if (rows_ == 0) return moved_squares_.clone();
  return (moved_squares_ / rows_ - (moved_sum_ / rows_).square()).clamp_min_(0);
}

ValueCounts Statistics::value_counts() const {
  if (!value_counts_.defined()) throw_not_wanted("the input's values");
  const std::lock_guard lock(mutex_);
  sum_pending();
  const at::Tensor ascending =
      at::cat({at::arange(kNegative, kHalfWords, at::kLong).flip(0), at::arange(kNegative, at::kLong)});
  const at::Tensor counts = value_counts_.cpu().index_select(0, ascending);
  const at::Tensor there = ascending.masked_select(counts > 0);
  return {there.to(at::kShort).view(at::kBFloat16).to(at::kDouble), counts.masked_select(counts > 0)};
}

at::Tensor Statistics::hessian() const {
  if (!gram_.defined()) throw_not_wanted("the Hessian");
  const std::lock_guard lock(mutex_);
  sum_pending();
  if (!hessian_.defined()) {
    const at::Tensor lower = gram_.tril() * (2.0 / static_cast<double>(std::max<std::int64_t>(1, rows_)));
    hessian_ = lower + lower.tril(-1).t();
  }
  return hessian_;
}

std::shared_ptr<const InverseFactor> Statistics::inverse_factor(double damping, bool descending) const {
  const at::Tensor h = hessian();
  const std::lock_guard lock(mutex_);
  auto& factor = factors_[{damping, descending}];
  if (!factor) factor = std::make_shared<InverseFactor>(invert_damped(h, damping, descending));
  return factor;
}

}  // namespace wring

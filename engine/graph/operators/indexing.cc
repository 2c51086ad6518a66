// Operators that read and write elements by index.
#include <ATen/ATen.h>

#include <array>
#include <optional>
#include <vector>

#include "engine/graph/onnx_tensor.h"
#include "engine/graph/operator_table.h"

namespace wring {
namespace {

// Indices that count from the end where they are negative, as int64.
at::Tensor wrapped(const at::Tensor& indices, std::int64_t length) {
  const at::Tensor wide = indices.to(at::kLong);
  return at::where(wide < 0, wide + length, wide);
}

Tensors gather(const Call& call) {
  const at::Tensor x = call.input(0), indices = call.input(1);
  const std::int64_t axis = call.axis(call.integer("axis", 0), x.dim());
  const at::Tensor taken = x.index_select(axis, wrapped(indices, x.size(axis)).reshape({-1}));
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.erase(sizes.begin() + axis);
  sizes.insert(sizes.begin() + axis, indices.sizes().begin(), indices.sizes().end());
  return {taken.reshape(sizes)};
}

Tensors gather_elements(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::int64_t axis = call.axis(call.integer("axis", 0), x.dim());
  return {x.gather(axis, wrapped(call.input(1), x.size(axis)))};
}

// The last axis of `indices` as one tensor an axis of x, from its first on.
c10::List<std::optional<at::Tensor>> coordinates(const Call& call, const at::Tensor& x,
                                                 const at::Tensor& indices) {
  const std::int64_t depth = indices.dim() == 0 ? 0 : indices.size(-1);
  if (depth < 1 || depth > x.dim()) call.refuse("indices of " + std::to_string(depth) + " coordinates");
  c10::List<std::optional<at::Tensor>> list;
  for (std::int64_t i = 0; i < depth; ++i) list.push_back(wrapped(indices.select(-1, i), x.size(i)));
  return list;
}

Tensors gather_nd(const Call& call) {
  if (call.integer("batch_dims", 0) != 0) call.unsupported("batch_dims");
  const at::Tensor x = call.input(0);
  return {at::index(x, coordinates(call, x, call.input(1)))};
}

Tensors scatter_nd(const Call& call) {
  const at::Tensor x = call.input(0);
  const std::string reduction = call.text("reduction", "none");
  if (reduction != "none" && reduction != "add") call.unsupported("the reduction " + reduction);
  return {at::index_put(x, coordinates(call, x, call.input(1)), call.input(2), reduction == "add")};
}

Tensors scatter_elements(const Call& call) {
  const at::Tensor x = call.input(0), values = call.input(2);
  const std::int64_t axis = call.axis(call.integer("axis", 0), x.dim());
  const at::Tensor indices = wrapped(call.input(1), x.size(axis));
  const std::string reduction = call.text("reduction", "none");
  if (reduction == "none") return {x.scatter(axis, indices, values)};
  if (reduction == "add") return {x.scatter_add(axis, indices, values)};
  call.unsupported("the reduction " + reduction);
}

// values: [off, on].
Tensors one_hot(const Call& call) {
  const at::Tensor indices = call.input(0), values = call.input(2);
  const auto depth = static_cast<std::int64_t>(call.number_of(1));
  const std::int64_t axis = call.axis(call.integer("axis", -1), indices.dim() + 1);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(indices.dim()) + 1, 1);
  sizes[static_cast<std::size_t>(axis)] = depth;
  const at::Tensor classes = at::arange(depth, indices.options().dtype(at::kLong)).reshape(sizes);
  const at::Tensor on = wrapped(indices, depth).unsqueeze(axis) == classes;
  return {at::where(on, values.select(0, 1), values.select(0, 0))};
}

Tensors non_zero(const Call& call) {
  return {at::nonzero(call.input(0)).t().contiguous()};
}

Tensors triangle(const Call& call) {
  const std::int64_t diagonal = call.has_input(1) ? static_cast<std::int64_t>(call.number_of(1)) : 0;
  return {call.integer("upper", 1) ? at::triu(call.input(0), diagonal) : at::tril(call.input(0), diagonal)};
}

Tensors eye_like(const Call& call) {
  const at::Tensor x = call.input(0);
  if (x.dim() != 2) call.refuse("its input must be a matrix");
  const auto type = onnx_type_from(static_cast<std::int32_t>(call.integer("dtype", 0)));
  const at::Tensor rows = at::arange(x.size(0)).unsqueeze(1), columns = at::arange(x.size(1));
  return {(columns - rows == call.integer("k", 0))
              .to(x.device(), type ? scalar_type(*type, "dtype") : x.scalar_type())};
}

constexpr std::array kRows{
    OperatorRow{"EyeLike", eye_like},
    OperatorRow{"Gather", gather},
    OperatorRow{"GatherElements", gather_elements},
    OperatorRow{"GatherND", gather_nd},
    OperatorRow{"NonZero", non_zero},
    OperatorRow{"OneHot", one_hot},
    OperatorRow{"ScatterElements", scatter_elements},
    OperatorRow{"ScatterND", scatter_nd},
    OperatorRow{"Trilu", triangle},
};

}  // namespace

std::span<const OperatorRow> indexing_operators() {
  return kRows;
}

}  // namespace wring

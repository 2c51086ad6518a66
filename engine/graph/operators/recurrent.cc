// LSTM, GRU and RNN by ATen's layers: their gates in ATen's order, directions one by one.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/graph/operator_table.h"

namespace wring {
namespace {

// One direction's weights as ATen has them.
struct Cell {
  at::Tensor input, hidden, input_bias,
      hidden_bias;  // [gates * size, features], [gates * size, size]; biases 1-d
};

// A recurrent node's inputs with the time axis first.
struct Sequence {
  at::Tensor x;                // [time, batch, features]
  std::int64_t size;           // of the hidden state
  bool batch_first;            // layout 1
  std::vector<bool> reversed;  // one a direction
};

Sequence sequence_of(const Call& call, const std::vector<std::string>& activations) {
  Sequence sequence;
  sequence.batch_first = call.flag("layout");
  sequence.x = sequence.batch_first ? call.input(0).transpose(0, 1) : call.input(0);
  if (sequence.x.dim() != 3) call.refuse("its input must have three axes");
  sequence.size = call.input(2).size(-1);
  const std::string direction = call.text("direction", "forward");
  if (direction != "reverse") sequence.reversed.push_back(false);
  if (direction != "forward") sequence.reversed.push_back(true);
  const auto given = call.texts("activations");
  for (std::size_t i = 0; i < given.size(); ++i)
    if (given[i] != activations[i % activations.size()]) call.unsupported("the activation " + given[i]);
  if (call.number("clip", 0) != 0) call.unsupported("clip");
  const auto directions = static_cast<std::int64_t>(sequence.reversed.size());
  if (call.input(1).dim() != 3 || call.input(1).size(0) != directions || call.input(2).dim() != 3 ||
      call.input(2).size(0) != directions)
    call.refuse("weights of other directions than " + direction);
  for (const auto length : call.integers_of(4).value_or(std::vector<std::int64_t>()))
    if (length != sequence.x.size(0)) call.unsupported("a sequence shorter than the input");
  return sequence;
}

// Rows [gates * size, ...] with the gates in another order.
at::Tensor reordered(const at::Tensor& rows, std::int64_t size, const std::vector<std::int64_t>& order) {
  std::vector<at::Tensor> gates;
  for (const auto gate : order) gates.push_back(rows.narrow(0, gate * size, size));
  return at::cat(gates);
}

Cell cell_of(const Call& call, std::int64_t direction, std::int64_t size,
             const std::vector<std::int64_t>& order) {
  const auto gates = static_cast<std::int64_t>(order.size());
  const at::Tensor biases = call.has_input(3)
                                ? call.input(3).select(0, direction)
                                : at::zeros({2 * gates * size}, call.input(1).options().requires_grad(false));
  return {reordered(call.input(1).select(0, direction), size, order),
          reordered(call.input(2).select(0, direction), size, order),
          reordered(biases.narrow(0, 0, gates * size), size, order),
          reordered(biases.narrow(0, gates * size, gates * size), size, order)};
}

// The initial state of one direction: [1, batch, size].
at::Tensor state_of(const Call& call, std::size_t input, const Sequence& sequence, std::int64_t direction) {
  if (!call.has_input(input))
    return at::zeros({1, sequence.x.size(1), sequence.size}, sequence.x.options().requires_grad(false));
  const at::Tensor given = sequence.batch_first ? call.input(input).transpose(0, 1) : call.input(input);
  return given.narrow(0, direction, 1).contiguous();
}

using States = std::vector<at::Tensor>;  // hidden, and of an LSTM the cell's: [1, batch, size]

// Runs `layer` in each direction: Y [time, directions, batch, size], then the last states [directions, batch,
// size].
template <typename Layer>
Tensors run(const Call& call, const Sequence& sequence, const std::vector<std::int64_t>& order,
            std::size_t states, const Layer& layer) {
  std::vector<at::Tensor> outputs;
  std::vector<States> last(states);
  for (std::size_t d = 0; d < sequence.reversed.size(); ++d) {
    const auto direction = static_cast<std::int64_t>(d);
    States first;
    for (std::size_t s = 0; s < states; ++s) first.push_back(state_of(call, 5 + s, sequence, direction));
    const at::Tensor x = sequence.reversed[d] ? sequence.x.flip(0) : sequence.x;
    auto [y, after] = layer(x, first, cell_of(call, direction, sequence.size, order));
    outputs.push_back(sequence.reversed[d] ? y.flip(0) : y);
    for (std::size_t s = 0; s < states; ++s) last[s].push_back(after[s]);
  }
  const at::Tensor all = at::stack(outputs, 1);
  Tensors made{sequence.batch_first ? all.permute({2, 0, 1, 3}) : all};
  for (auto& state : last) {
    const at::Tensor joined = at::cat(state, 0);
    made.push_back(sequence.batch_first ? joined.transpose(0, 1) : joined);
  }
  return made;
}

std::vector<at::Tensor> parameters_of(const Cell& cell) {
  return {cell.input, cell.hidden, cell.input_bias, cell.hidden_bias};
}

Tensors lstm(const Call& call) {
  if (call.has_input(7)) call.unsupported("a peephole");
  if (call.flag("input_forget")) call.unsupported("input_forget");
  const Sequence sequence = sequence_of(call, {"Sigmoid", "Tanh", "Tanh"});
  const auto layer = [](const at::Tensor& x, const States& first, const Cell& cell) {
    auto [y, h, c] = at::lstm(x, first, parameters_of(cell), true, 1, 0, false, false, false);
    return std::pair(y, States{h, c});
  };
  return run(call, sequence, {0, 2, 3, 1}, 2,
             layer);  // ONNX: input, output, forget, cell; ATen: input, forget, cell, output
}

// ONNX's default: the reset gate before the hidden product, which ATen's layer has behind it.
std::pair<at::Tensor, States> gru_reset_first(const at::Tensor& x, const States& first, const Cell& cell) {
  const std::int64_t size = cell.hidden.size(1);
  const at::Tensor from_input = at::linear(x, cell.input, cell.input_bias);
  const auto gate = [&](const at::Tensor& rows, std::int64_t i) { return rows.narrow(-1, i * size, size); };
  const at::Tensor hidden_gates = cell.hidden.narrow(0, 0, 2 * size),
                   hidden_new = cell.hidden.narrow(0, 2 * size, size);
  const at::Tensor bias_gates = cell.hidden_bias.narrow(0, 0, 2 * size),
                   bias_new = cell.hidden_bias.narrow(0, 2 * size, size);
  at::Tensor h = first[0].squeeze(0);
  std::vector<at::Tensor> outputs;
  for (std::int64_t t = 0; t < x.size(0); ++t) {
    const at::Tensor in = from_input.select(0, t), of_h = at::linear(h, hidden_gates, bias_gates);
    const at::Tensor reset = at::sigmoid(gate(in, 0) + gate(of_h, 0)),
                     update = at::sigmoid(gate(in, 1) + gate(of_h, 1));
    const at::Tensor next = at::tanh(gate(in, 2) + at::linear(reset * h, hidden_new, bias_new));
    h = (1 - update) * next + update * h;
    outputs.push_back(h);
  }
  return {at::stack(outputs), {h.unsqueeze(0)}};
}

std::pair<at::Tensor, States> gru_reset_behind(const at::Tensor& x, const States& first, const Cell& cell) {
  auto [y, h] = at::gru(x, first[0], parameters_of(cell), true, 1, 0, false, false, false);
  return {y, {h}};
}

Tensors gru(const Call& call) {
  const Sequence sequence = sequence_of(call, {"Sigmoid", "Tanh"});
  const auto layer = call.flag("linear_before_reset") ? gru_reset_behind : gru_reset_first;
  return run(call, sequence, {1, 0, 2}, 1, layer);  // ONNX: update, reset, new; ATen: reset, update, new
}

Tensors rnn(const Call& call) {
  const auto activations = call.texts("activations");
  const bool relu = !activations.empty() && activations.front() == "Relu";
  const Sequence sequence = sequence_of(call, {relu ? "Relu" : "Tanh"});
  const auto layer = [relu](const at::Tensor& x, const States& first, const Cell& cell) {
    auto [y, h] = relu ? at::rnn_relu(x, first[0], parameters_of(cell), true, 1, 0, false, false, false)
                       : at::rnn_tanh(x, first[0], parameters_of(cell), true, 1, 0, false, false, false);
    return std::pair(y, States{h});
  };
  return run(call, sequence, {0}, 1, layer);
}

constexpr std::array kRows{
    OperatorRow{"GRU", gru},
    OperatorRow{"LSTM", lstm},
    OperatorRow{"RNN", rnn},
};

}  // namespace

std::span<const OperatorRow> recurrent_operators() {
  return kRows;
}

}  // namespace wring

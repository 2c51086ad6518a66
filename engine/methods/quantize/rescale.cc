// Makers divided, readers multiplied.
#include "engine/methods/quantize/rescale.h"

#include <string>

#include "common/error.h"

namespace wring {
namespace {

// Refuses what an earlier stage has compressed.
void check_plain(const char* method, const Layer& layer) {
  const auto format = layer.weight().format();
  if (format != "dense" && format != "ggml")
    throw Error(ErrorCode::kInvalidArgument, "ALREADY_COMPRESSED",
                "its weight is stored as " + std::string(format) + ", which cannot be rescaled", layer.name(),
                "Put " + std::string(method) + " before the stages that compress.");
}

// Returns the scales that the division came to: the rounding of a gain is in them.
at::Tensor divide_maker(const ScalableTap& tap, const at::Tensor& scales) {
  if (tap.gain) {
    const at::Tensor stored = tap.gain->value, gain = stored.to(at::kCPU, at::kFloat);
    const at::Tensor divided = (gain / scales).to(stored.scalar_type());
    tap.gain->value = divided.to(stored.device());
    return at::where(divided == 0, at::ones_like(gain), gain / divided.to(at::kFloat));
  }
  Layer& producer = *tap.producer;
  const at::Tensor weight = producer.weight().decode(at::kFloat).cpu();
  at::Tensor by_row = scales;
  if (tap.rows.defined()) by_row = at::ones({weight.size(0)}).index_copy_(0, tap.rows, scales);
  set_plain(producer, weight / by_row.unsqueeze(1));
  if (const at::Tensor bias = producer.bias(); bias.defined())
    producer.set_bias((bias.to(at::kFloat) / by_row.to(bias.device())).to(bias.scalar_type()));
  return scales;
}

}  // namespace

at::Tensor magnitudes(const ScalableTap& tap, const at::Tensor& squares) {
  if (!tap.rows.defined()) return squares.sqrt();
  const auto rows = tap.producer->weight().rows();
  const at::Tensor sums = at::zeros({rows}, at::kDouble).index_add(0, tap.rows, squares),
                   counts = at::zeros({rows}, at::kDouble).index_add(0, tap.rows, at::ones_like(squares));
  return (sums / counts.clamp_min(1)).sqrt().index_select(0, tap.rows);
}

void set_plain(Layer& layer, const at::Tensor& weight) {
  const WeightRep& old = layer.weight();
  const auto dtype = old.format() == "dense" ? old.tensors().front().tensor.scalar_type() : at::kFloat;
  layer.set_weight(dense_rep(weight.to(dtype).contiguous()));
}

void rescale(const char* method, const ScalableTap& tap, const at::Tensor& scales) {
  for (const Layer* reader : tap.readers) check_plain(method, *reader);
  if (tap.producer) check_plain(method, *tap.producer);
  const at::Tensor divided = divide_maker(tap, scales);
  for (Layer* reader : tap.readers) set_plain(*reader, decode_to_own(reader->weight()) * divided);
}

}  // namespace wring

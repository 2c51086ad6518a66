// Which form a weight takes: blocks of a grid, whole rows of bytes, thin factors, or values.
#include "engine/export/onnx_layers.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "common/error.h"
#include "engine/export/integer_grid.h"
#include "engine/model/onnx_source.h"
#include "engine/model/packed_rows.h"
#include "engine/model/sum_rep.h"

namespace wring {
namespace {

using Attributes = std::vector<OnnxAttribute>;

constexpr std::int64_t kSmallestBlock = 16, kLargestBlock = 128;  // of MatMulNBits' kernels
constexpr double kInt8Steps = 127.5;                              // as compressed-tensors' scales of tokens
constexpr std::uint8_t kInt8Zero = 128;                           // of int8 codes as uint8

// Bits of the codes that onnxruntime has kernels for.
int container_of(int bits) {
  return bits <= 2 ? 2 : bits <= 4 ? 4 : 8;
}

std::int64_t block_of(std::int64_t group_size) {
  std::int64_t block = 1;
  while (block < kLargestBlock && group_size % (2 * block) == 0) block *= 2;
  return block;
}

}  // namespace

OnnxLayers::OnnxLayers(const Model& model, OnnxBuilder& builder, Claims& claims, OnnxLayerOptions options)
    : builder_(builder), claims_(claims), options_(options) {
  for (const Layer* layer : model.layers()) layers_[layer->name()] = layer;
  for (const auto& parameter : model.parameters()) parameters_[parameter.name] = &parameter.value;
}

const Layer* OnnxLayers::find(const std::string& name) const {
  const auto it = layers_.find(name);
  return it == layers_.end() ? nullptr : it->second;
}

const at::Tensor* OnnxLayers::parameter(const std::string& name) const {
  const auto it = parameters_.find(name);
  return it == parameters_.end() ? nullptr : it->second;
}

std::string OnnxLayers::linear(const Layer& layer, const std::string& x) {
  const auto rounding = input_rounding(layer.weight());
  if (rounding && (rounding->type != InputType::kInt8 || rounding->group_size != -1))
    throw Error(
        ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
        "onnx holds inputs that are rounded to int8 by token or all alike, and this layer's are "
        "rounded to " +
            describe_inputs(layer.weight()),
        layer.name(),
        "Use round-inputs(type=int8, group_size=-1), static-inputs(type=int8) or compressed-tensors.");
  const Input in = rounding ? rounded(x, *rounding, layer.name()) : Input{x, "", "", ""};
  builder_.enter(layer.name());
  const WeightRep& stored = without_rounding(layer.weight());
  const auto parts = terms_of(std::shared_ptr<const WeightRep>(layer.shared_weight(), &stored));
  std::string y;
  std::vector<std::shared_ptr<const WeightRep>> meant;
  for (const auto& rep : parts) {
    const auto name = parts.size() == 1 ? layer.name() : layer.name() + "." + std::to_string(meant.size());
    Product product = part(name, rep, in);
    y = meant.empty() ? product.value : builder_.add(y, product.value);
    meant.push_back(std::move(product.meant));
  }
  auto whole = meant.size() == 1 ? meant.front() : sum_rep(meant);
  claims_.weight(layer, *(rounding ? rounded_input_rep(whole, *rounding) : whole));
  if (!layer.bias().defined()) return y;
  return builder_.add(y, builder_.parameter(layer.name() + ".bias", layer.bias(), builder_.work()));
}

// Once for the layers that round the same input alike; where some do not, a count is in the name. On one
// scale each layer has a DequantizeLinear of its own, as onnxruntime's integer products want it.
OnnxLayers::Input OnnxLayers::rounded(const std::string& x, const InputRounding& rounding,
                                      const std::string& layer) {
  auto& ways = rounded_[x];
  auto known = std::find_if(ways.begin(), ways.end(), [&](const auto& way) { return way.first == rounding; });
  if (known == ways.end()) {
    const std::string name = x + (ways.empty() ? "" : "_" + std::to_string(ways.size())) + kRoundedInput;
    ways.emplace_back(rounding, rounding.is_static() ? round_on(x, rounding, name) : round(x, name));
    known = std::prev(ways.end());
  }
  return rounding.is_static() ? dequantized(known->second, layer + kRoundedInput) : known->second;
}

// In uint8: of int8 codes that several layers read onnxruntime makes no integer products on x86.
OnnxLayers::Input OnnxLayers::round_on(const std::string& x, const InputRounding& rounding,
                                       const std::string& name) {
  Input made;
  made.scale = builder_.stored(name + ".scale", at::scalar_tensor(rounding.scale, at::kFloat));
  made.zero = builder_.stored(name + ".zero", at::scalar_tensor(rounding.zero + kInt8Zero, at::kByte));
  made.codes =
      builder_.node("QuantizeLinear", {builder_.cast(x, builder_.work(), at::kFloat), made.scale, made.zero},
                    {}, name + kInputCodes);
  return made;
}

OnnxLayers::Input OnnxLayers::dequantized(const Input& x, const std::string& name) {
  const bool plain = builder_.work() == at::kFloat;
  const std::string values =
      builder_.node("DequantizeLinear", {x.codes, x.scale, x.zero}, {}, plain ? name : "");
  return {plain ? values : builder_.node("Cast", {values}, {{"to", std::int64_t{10}}}, name), "", "", ""};
}

// Per token: s = max |x| / 127.5, codes round(x / s) from -128 to 127, halves to even; in uint8, 128 more.
OnnxLayers::Input OnnxLayers::round(const std::string& x, const std::string& name) {
  const std::string wide = builder_.cast(x, builder_.work(), at::kFloat);
  const std::string largest =
      builder_.node("ReduceMax", {builder_.node("Abs", {wide})},
                    {{"axes", std::vector<std::int64_t>{-1}}, {"keepdims", std::int64_t{1}}});
  Input made;
  made.scale = builder_.node(
      "Div", {builder_.node("Max", {largest, builder_.number(1e-30)}), builder_.number(kInt8Steps)});
  const std::string codes = builder_.node("Clip",
                                          {builder_.node("Round", {builder_.node("Div", {wide, made.scale})}),
                                           builder_.number(-128), builder_.number(127)},
                                          {}, name + kInputCodes);
  made.codes = builder_.cast(builder_.add(codes, builder_.number(kInt8Zero)), at::kFloat, at::kByte);
  const std::string back = builder_.multiply(codes, made.scale);
  made.values = builder_.work() == at::kFloat
                    ? builder_.node("Identity", {back}, {}, name)
                    : builder_.node("Cast", {back}, {{"to", std::int64_t{10}}}, name);
  return made;
}

OnnxLayers::Product OnnxLayers::part(const std::string& name, const std::shared_ptr<const WeightRep>& rep,
                                     const Input& x) {
  if (rep->format() == "low-rank") return thin(name, *rep, x);
  if (rep->format() != "packed-int" || !options_.packed) return plain(name, rep, x);
  const Json attributes = rep->attributes();
  const bool bytes = json_at<int>(attributes, "bits", name) == 8;
  const bool whole = json_at<std::int64_t>(attributes, "group_size", name) == rep->columns();
  return bytes && whole ? whole_rows(name, *rep, x) : blocks(name, *rep, x);
}

OnnxLayers::Product OnnxLayers::plain(const std::string& name, const std::shared_ptr<const WeightRep>& rep,
                                      const Input& x) {
  const auto type = builder_.work();
  const std::string weight =
      builder_.stored(name + ".weight" + kTransposed, type, {rep->columns(), rep->rows()},
                      [rep, type] { return rep->decode(type).t().contiguous(); });
  return {builder_.node("MatMul", {x.values, weight}), dense_rep(rep->decode(type))};
}

OnnxLayers::Product OnnxLayers::thin(const std::string& name, const WeightRep& rep, const Input& x) {
  at::Tensor a, b;
  for (const auto& named : rep.tensors()) (named.suffix == "a" ? a : b) = named.tensor.to(builder_.work());
  const std::string low =
      builder_.node("MatMul", {x.values, builder_.stored(name + ".a_t", a.t().contiguous())});
  return {builder_.node("MatMul", {low, builder_.stored(name + ".b_t", b.t().contiguous())}),
          low_rank_rep(a, b)};
}

// Groups that are no power of two are several blocks of one scale.
OnnxLayers::Product OnnxLayers::blocks(const std::string& name, const WeightRep& rep, const Input& x) {
  IntegerGrid grid = integer_grid(rep, name);
  const std::int64_t block = block_of(grid.group_size), rows = rep.rows(), columns = rep.columns(),
                     repeats = grid.group_size / block;
  if (block < kSmallestBlock)
    throw Error(ErrorCode::kInvalidArgument, "NOT_EXPRESSIBLE",
                "onnx's MatMulNBits has blocks of 16, 32, 64 or 128 inputs, and this layer's groups of " +
                    std::to_string(grid.group_size) + " are no multiple of them",
                name, "Use a group size that 16 divides, or onnx(weights=plain).");
  const int bits = container_of(grid.bits);
  PackedInt meant{bits, block, grid.codes, grid.scales.to(builder_.work()).repeat_interleave(repeats, 1), {}};
  if (grid.symmetric)
    meant.codes = grid.codes + ((1 << (bits - 1)) - (1 << (grid.bits - 1)));
  else
    meant.zeros = grid.zeros.repeat_interleave(repeats, 1);
  const std::int64_t count = columns / block;
  std::vector<std::string> inputs{
      x.values,
      builder_.stored(name + ".codes", pack_rows(meant.codes, bits).reshape({rows, count, block * bits / 8})),
      builder_.stored(name + ".scales", meant.scales.reshape({-1}))};
  if (!grid.symmetric)
    inputs.push_back(builder_.stored(name + ".zeros", pack_rows(meant.zeros, bits).reshape({-1})));
  Attributes attributes{{"K", columns}, {"N", rows}, {"bits", std::int64_t{bits}}, {"block_size", block}};
  if (options_.accuracy_level > 0) attributes.push_back({"accuracy_level", options_.accuracy_level});
  return {builder_.node("com.microsoft.MatMulNBits", std::move(inputs), std::move(attributes)),
          packed_int_rep(meant)};
}

// With inputs that are rounded too, integers are multiplied: uint8 both, which no processor's kernels
// saturate.
OnnxLayers::Product OnnxLayers::whole_rows(const std::string& name, const WeightRep& rep, const Input& x) {
  const IntegerGrid grid = integer_grid(rep, name);
  const bool rounded = x.values.ends_with(kRoundedInput), dynamic = !x.codes.empty();
  const bool in_bytes = rounded && !options_.fast_products;
  const auto stored_of = [&](const at::Tensor& codes) {
    return in_bytes ? codes : (codes.to(at::kShort) - kInt8Zero).to(at::kChar);
  };
  const at::Tensor scales = grid.scales.to(at::kFloat);
  const std::string codes = builder_.stored(name + ".codes_t", stored_of(grid.codes).t().contiguous()),
                    scale = builder_.stored(name + ".scales", scales.reshape({-1}));
  std::string zeros;
  if (!grid.symmetric)
    zeros = builder_.stored(name + ".zeros", stored_of(grid.zeros).reshape({-1}));
  else if (in_bytes && dynamic)
    zeros = builder_.byte(kInt8Zero);
  else if (in_bytes)
    zeros = builder_.stored(name + ".zeros", at::full({rep.rows()}, kInt8Zero, at::kByte));
  const auto meant =
      packed_int_rep({8, rep.columns(), grid.codes, scales, grid.symmetric ? at::Tensor() : grid.zeros});
  if (!dynamic) {
    std::vector<std::string> inputs{codes, scale};
    if (!zeros.empty()) inputs.push_back(zeros);
    const auto weight = builder_.node("DequantizeLinear", inputs, {{"axis", std::int64_t{1}}});
    return {builder_.node("MatMul", {x.values, builder_.cast(weight, at::kFloat, builder_.work())}), meant};
  }
  std::vector<std::string> inputs{x.codes, codes, builder_.byte(kInt8Zero)};
  if (!zeros.empty()) inputs.push_back(zeros);
  const std::string sums = builder_.cast(builder_.node("MatMulInteger", inputs), at::kInt, at::kFloat);
  const std::string y = builder_.multiply(builder_.multiply(sums, x.scale), scale);
  return {builder_.cast(y, at::kFloat, builder_.work()), meant};
}

// The embedding's rows as values, claimed once: a tied head reads them too.
std::string OnnxLayers::rows_of(const Layer& embedding) {
  const std::string name = embedding.name() + ".weight";
  const auto rep = embedding.shared_weight();
  const auto type = builder_.work();
  claims_.weight(embedding, *dense_rep(rep->decode(type)));
  return builder_.stored(name, type, {rep->rows(), rep->columns()},
                         [rep, type] { return rep->decode(type).contiguous(); });
}

std::string OnnxLayers::look_up(const Layer& embedding, const std::string& ids) {
  builder_.enter(embedding.name());
  return builder_.node("Gather", {rows_of(embedding), ids}, {{"axis", std::int64_t{0}}});
}

std::string OnnxLayers::score_rows(const Layer& embedding, const std::string& x, const std::string& like) {
  const std::int64_t features = embedding.weight().columns(), vocabulary = embedding.weight().rows();
  const std::string scores =
      builder_.node("Gemm", {builder_.reshape(x, {-1, features}), embedding.name() + ".weight"},
                    {{"transB", std::int64_t{1}}});
  const std::string shape =
      builder_.node("Concat", {builder_.node("Shape", {like}), builder_.integers({vocabulary})},
                    {{"axis", std::int64_t{0}}});
  return builder_.node("Reshape", {scores, shape});
}

std::string split_heads(OnnxBuilder& builder, const std::string& x, std::int64_t heads, std::int64_t size) {
  return builder.transpose(builder.reshape(x, {0, 0, heads, size}), {0, 2, 1, 3});
}

std::string attend(OnnxBuilder& builder, const std::string& query, const std::string& key,
                   const std::string& value, const std::string& visible, std::int64_t heads,
                   std::int64_t kv_heads, std::int64_t size) {
  // The queries that share a KV head stand one below the other: one product for all of them.
  const bool shared = heads != kv_heads;
  const auto type = builder.work();
  const std::string queries = shared ? builder.reshape(query, {0, kv_heads, -1, size}) : query;
  std::string scores = builder.node("MatMul", {queries, builder.transpose(key, {0, 1, 3, 2})});
  if (shared) scores = builder.reshape(scores, {0, heads, -1, 0});
  const std::string hidden = builder.number(std::numeric_limits<float>::lowest());
  std::string shares = builder.node(
      "Softmax", {builder.node("Where", {visible, builder.cast(scores, type, at::kFloat), hidden})},
      {{"axis", std::int64_t{-1}}});
  shares = builder.cast(shares, at::kFloat, type);
  if (shared) shares = builder.reshape(shares, {0, kv_heads, -1, 0});
  std::string mixed = builder.node("MatMul", {shares, value});
  if (shared) mixed = builder.reshape(mixed, {0, heads, -1, size});
  return builder.reshape(builder.transpose(mixed, {0, 2, 1, 3}), {0, 0, heads * size});
}

std::string size_of(OnnxBuilder& builder, const std::string& x, std::int64_t axis) {
  return builder.node("Gather", {builder.node("Shape", {x}), builder.integers({axis})},
                      {{"axis", std::int64_t{0}}});
}

}  // namespace wring

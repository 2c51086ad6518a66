// A weight whose layer rounds its inputs: as they come, by token or group of it, symmetric, as
// compressed-tensors' strategies "token" and "group" do; or on one scale, as its static "tensor" and ONNX's
// QuantizeLinear do.
#include <limits>

#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

constexpr double kLargestFloat8 = 448;

at::Tensor on_scale(const at::Tensor& x, const at::Tensor& scale, const InputRounding& rounding) {
  if (rounding.type == InputType::kFloat8)
    return (x / scale)
        .clamp(-kLargestFloat8, kLargestFloat8)
        .to(at::kFloat8_e4m3fn)
        .to(at::kFloat)
        .mul(scale);
  return (x / scale).round().clamp(-128 - rounding.zero, 127 - rounding.zero).mul(scale);  // code - zero
}

// int8: scale = largest / 127.5, codes -128 .. 127. float8_e4m3: scale = largest / 448.
at::Tensor dynamic_scale(const at::Tensor& x, InputType type) {
  return x.abs().amax(-1, true).clamp_min(1e-30) / (type == InputType::kInt8 ? 127.5 : kLargestFloat8);
}

bool is_scale(double scale) {
  return scale <= std::numeric_limits<float>::max() && static_cast<float>(scale) > 0;  // a NaN is not
}

class RoundedInputRep final : public WeightRep {
 public:
  RoundedInputRep(std::shared_ptr<const WeightRep> weight, InputRounding rounding)
      : weight_(std::move(weight)), rounding_(rounding) {}

  std::string_view format() const override { return "rounded-input"; }
  std::int64_t rows() const override { return weight_->rows(); }
  std::int64_t columns() const override { return weight_->columns(); }
  std::int64_t parameters() const override { return weight_->parameters(); }
  std::vector<NamedTensor> tensors() const override { return weight_->tensors(); }
  Json attributes() const override {
    Json attributes{{"type", rounding_.type == InputType::kInt8 ? "int8" : "float8_e4m3"},
                    {"rep", weight_->format()},
                    {"attributes", weight_->attributes()}};
    if (rounding_.is_static()) {
      attributes["scale"] = rounding_.scale;
      attributes["zero"] = rounding_.zero;
    } else {
      attributes["group_size"] = rounding_.group_size;
    }
    return attributes;
  }

  at::Tensor decode(at::ScalarType dtype) const override { return weight_->decode(dtype); }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return weight_->decode_rows(ids, dtype);
  }
  at::Tensor multiply(const at::Tensor& x) const override { return weight_->multiply(x); }

  at::Tensor round_input(const at::Tensor& x) const override {
    const at::Tensor plain = x.to(at::kFloat);
    if (rounding_.is_static())
      return on_scale(plain, at::full({1}, rounding_.scale, plain.options()), rounding_).to(x.scalar_type());
    const at::Tensor grouped =
        rounding_.group_size < 0 ? plain : plain.unflatten(-1, {-1, rounding_.group_size});
    return on_scale(grouped, dynamic_scale(grouped, rounding_.type), rounding_)
        .reshape(x.sizes())
        .to(x.scalar_type());
  }

  std::shared_ptr<const WeightRep> slice(std::size_t axis, const at::Tensor& kept) const override {
    auto weight = axis == 0 || rounding_.group_size < 0 ? weight_->slice(axis, kept) : nullptr;
    return weight ? std::make_shared<RoundedInputRep>(std::move(weight), rounding_) : nullptr;
  }

  const WeightRep& weight() const { return *weight_; }
  InputRounding rounding() const { return rounding_; }

 private:
  std::shared_ptr<const WeightRep> weight_;
  InputRounding rounding_;
};

}  // namespace

std::shared_ptr<const WeightRep> rounded_input_rep(std::shared_ptr<const WeightRep> weight,
                                                   InputRounding rounding) {
  if (input_rounding(*weight)) throw_bad_weight_rep("its input is rounded twice");
  if (rounding.group_size == 0 || rounding.group_size < -1 ||
      (rounding.group_size > 0 && weight->columns() % rounding.group_size != 0))
    throw_bad_weight_rep("its input's group size " + std::to_string(rounding.group_size) +
                         " does not divide " + std::to_string(weight->columns()));
  if (rounding.is_static() && (!is_scale(rounding.scale) || rounding.group_size != -1))
    throw_bad_weight_rep("its input's scale is no positive number of float32 for whole tokens");
  rounding.scale = static_cast<float>(rounding.scale);
  if (rounding.zero < -128 || rounding.zero > 127 ||
      (rounding.zero != 0 && (!rounding.is_static() || rounding.type != InputType::kInt8)))
    throw_bad_weight_rep("its input's zero point " + std::to_string(rounding.zero) + " is none of its type");
  return std::make_shared<RoundedInputRep>(std::move(weight), rounding);
}

std::optional<InputRounding> input_rounding(const WeightRep& rep) {
  const auto* rounded = dynamic_cast<const RoundedInputRep*>(&rep);
  return rounded ? std::optional(rounded->rounding()) : std::nullopt;
}

const WeightRep& without_rounding(const WeightRep& rep) {
  const auto* rounded = dynamic_cast<const RoundedInputRep*>(&rep);
  return rounded ? rounded->weight() : rep;
}

std::shared_ptr<const WeightRep> load_rounded_input_rep(const Json& attributes, const TensorLookup& tensor) {
  const auto format = json_at<std::string>(attributes, "rep", "attributes"),
             type = json_at<std::string>(attributes, "type", "attributes");
  if (format == "rounded-input") throw_bad_weight_rep("its input is rounded twice");
  if (type != "int8" && type != "float8_e4m3")
    throw_bad_weight_rep("inputs are not rounded to '" + type + "'");
  auto weight =
      load_weight_rep("weight", format, json_at<Json>(attributes, "attributes", "attributes"), tensor);
  InputRounding rounding{type == "int8" ? InputType::kInt8 : InputType::kFloat8};
  if (attributes.contains("scale")) {
    rounding.scale = json_at<double>(attributes, "scale", "attributes");
    rounding.zero = json_at<std::int64_t>(attributes, "zero", "attributes");
    if (!is_scale(rounding.scale)) throw_bad_weight_rep("its input's scale is no positive number of float32");
  } else {
    rounding.group_size = json_at<std::int64_t>(attributes, "group_size", "attributes");
  }
  return rounded_input_rep(std::move(weight), rounding);
}

}  // namespace wring

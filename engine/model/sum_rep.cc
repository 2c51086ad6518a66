// The weight in parts that add up: one that was compressed, and what puts back some of its loss.
#include "engine/model/sum_rep.h"

#include <algorithm>

#include "engine/model/fill_rows.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

using Parts = std::vector<std::shared_ptr<const WeightRep>>;

constexpr std::size_t kMostParts = 16;

std::string prefix_of(std::size_t part) {
  return std::to_string(part) + ".";
}

// Part i's tensors have "i." before their suffixes.
class SumRep final : public WeightRep {
 public:
  explicit SumRep(Parts parts) : parts_(std::move(parts)) {}

  std::string_view format() const override { return "sum"; }
  std::int64_t rows() const override { return parts_.front()->rows(); }
  std::int64_t columns() const override { return parts_.front()->columns(); }
  std::int64_t parameters() const override {  // of the weight that the parts add up to at most
    std::int64_t sum = 0;
    for (const auto& part : parts_) sum += part->parameters();
    return std::min(sum, rows() * columns());
  }

  Json attributes() const override {
    Json parts = Json::array();
    for (const auto& part : parts_)
      parts.push_back({{"rep", part->format()}, {"attributes", part->attributes()}});
    return {{"parts", parts}};
  }

  std::vector<NamedTensor> tensors() const override {
    std::vector<NamedTensor> all;
    for (std::size_t i = 0; i < parts_.size(); ++i)
      for (auto& named : parts_[i]->tensors())
        all.push_back({prefix_of(i) + named.suffix, std::move(named.tensor)});
    return all;
  }

  at::Tensor decode(at::ScalarType dtype) const override {
    return sum([&](const WeightRep& part) { return part.decode(at::kFloat); }).to(dtype);
  }
  at::Tensor decode_rows(const at::Tensor& ids, at::ScalarType dtype) const override {
    return sum([&](const WeightRep& part) { return part.decode_rows(ids, at::kFloat); }).to(dtype);
  }

  // Each part by its own kernel, where all have one.
  at::Tensor multiply(const at::Tensor& x) const override {
    at::Tensor total;
    for (const auto& part : parts_) {
      const at::Tensor y = part->multiply(x);
      if (!y.defined()) return {};
      total = total.defined() ? total + y : y;
    }
    return total;
  }

  const Parts& parts() const { return parts_; }

 private:
  template <typename Term>
  at::Tensor sum(const Term& term) const {
    at::Tensor total = term(*parts_.front());
    for (std::size_t i = 1; i < parts_.size(); ++i) total = total + term(*parts_[i]);
    return total;
  }

  Parts parts_;
};

}  // namespace

Parts terms_of(std::shared_ptr<const WeightRep> rep) {
  if (const auto* sum = dynamic_cast<const SumRep*>(rep.get())) return sum->parts();
  return {std::move(rep)};
}

std::shared_ptr<const WeightRep> sum_rep(const Parts& parts) {
  Parts flat;
  for (const auto& part : parts) {
    const Parts taken = terms_of(part);
    flat.insert(flat.end(), taken.begin(), taken.end());
  }
  if (flat.size() < 2 || flat.size() > kMostParts)
    throw_bad_weight_rep("it has " + std::to_string(flat.size()) + " parts, not 2 to " +
                         std::to_string(kMostParts));
  for (const auto& part : flat)
    if (input_rounding(*part)) throw_bad_weight_rep("a part rounds its inputs, which the whole must");
  for (const auto& part : flat)
    if (part->rows() != flat.front()->rows() || part->columns() != flat.front()->columns())
      throw_bad_weight_rep("its parts differ in shape");
  return std::make_shared<SumRep>(std::move(flat));
}

std::shared_ptr<const WeightRep> load_sum_rep(const Json& attributes, const TensorLookup& tensor) {
  const auto described = json_at<std::vector<Json>>(attributes, "parts", "attributes");
  if (described.size() > kMostParts) throw_bad_weight_rep("it has more than 16 parts");
  Parts parts;
  for (std::size_t i = 0; i < described.size(); ++i) {
    const auto format = json_at<std::string>(described[i], "rep", "attributes");
    if (format == "sum") throw_bad_weight_rep("a part of a sum is a sum itself");
    parts.push_back(load_weight_rep(
        "part " + std::to_string(i), format, json_at<Json>(described[i], "attributes", "attributes"),
        [&](const std::string& suffix) { return tensor(prefix_of(i) + suffix); }));
  }
  return sum_rep(parts);
}

}  // namespace wring

// KIVI: keys quantised along tokens, channel by channel, values along channels, token by token (Liu et al.,
// ICML 2024, section 3), each group between its smallest and largest element.
#include <string>
#include <vector>

#include "common/error.h"
#include "engine/methods/kv/kv_method.h"
#include "engine/methods/kv/windowed_cache.h"

namespace wring {
namespace {

// Groups [..., group_size] as codes, eight bits or several codes a byte.
class Groups {
 public:
  // x = smallest + code * scale, both rounded to float16 before codes are.
  Groups(const at::Tensor& x, int bits) : bits_(bits) {
    const double most = (1 << bits) - 1;
    const at::Tensor low = x.amin(-1, true);
    smallest_ = low.to(at::kHalf);
    scale_ = ((x.amax(-1, true) - low) / most).clamp_min(1e-7).to(at::kHalf);
    const at::Tensor codes =
        ((x - smallest_.to(at::kFloat)) / scale_.to(at::kFloat)).round_().clamp_(0, most).to(at::kByte);
    codes_ = at::zeros({}, codes.options());
    for (int part = 0; part < parts(); ++part)
      codes_ = codes_ + at::bitwise_left_shift(codes.slice(-1, part, std::nullopt, parts()), bits * part);
  }

  at::Tensor decode() const {
    std::vector<at::Tensor> codes;
    for (int part = 0; part < parts(); ++part)
      codes.push_back(at::bitwise_right_shift(codes_, bits_ * part).bitwise_and((1 << bits_) - 1));
    return at::stack(codes, -1).flatten(-2).to(at::kFloat) * scale_.to(at::kFloat) + smallest_.to(at::kFloat);
  }

  std::uint64_t bytes() const { return codes_.nbytes() + scale_.nbytes() + smallest_.nbytes(); }

 private:
  int parts() const { return 8 / bits_; }

  int bits_;
  at::Tensor codes_, scale_, smallest_;
};

struct Settings {
  int bits;
  std::int64_t group_size;
  Window window;
};

class Kivi final : public WindowedCache {
 public:
  explicit Kivi(const Settings& settings) : WindowedCache(settings.window, false), s_(settings) {}

 protected:
  void compress(const at::Tensor& key, const at::Tensor& value) override {
    const std::int64_t g = s_.group_size;
    keys_.emplace_back(key.transpose(2, 3).unflatten(3, {-1, g}), s_.bits);  // [batch, heads, dim, groups, g]
    values_.emplace_back(value.unflatten(3, {-1, g}), s_.bits);  // [batch, heads, tokens, groups, g]
  }
  std::pair<at::Tensor, at::Tensor> compressed() const override {
    if (keys_.empty()) return {};
    std::vector<at::Tensor> keys, values;
    for (const Groups& groups : keys_) keys.push_back(groups.decode().flatten(3).transpose(2, 3));
    for (const Groups& groups : values_) values.push_back(groups.decode().flatten(3));
    return {at::cat(keys, 2), at::cat(values, 2)};
  }
  std::uint64_t compressed_bytes() const override {
    std::uint64_t bytes = 0;
    for (const auto* all : {&keys_, &values_})
      for (const Groups& groups : *all) bytes += groups.bytes();
    return bytes;
  }

 private:
  Settings s_;
  std::vector<Groups> keys_, values_;  // one a time that something was due
};

class KiviMethod final : public KvMethod {
 public:
  explicit KiviMethod(const Params& params)
      : KvMethod("kivi", params),
        settings_{static_cast<int>(params.get<std::int64_t>("bits")),
                  params.get<std::int64_t>("group_size"),
                  {params.get<std::int64_t>("window"), params.get<std::int64_t>("chunk"),
                   params.dtype("value_dtype")}},
        field_(params.field("group_size")) {
    check_divides(settings_.window.chunk, "tokens of a chunk");
    if (settings_.group_size % 8 != 0)
      throw Error(ErrorCode::kInvalidArgument, "GROUP_SIZE",
                  std::to_string(settings_.group_size) + " is no multiple of 8", field_);
  }

  void check_heads(std::int64_t, std::int64_t value_width) const override {
    check_divides(value_width, "channels of a value");
  }

  std::unique_ptr<BlockCache> make_block(std::size_t) const override {
    return std::make_unique<Kivi>(settings_);
  }

 private:
  void check_divides(std::int64_t whole, const std::string& what) const {
    if (whole % settings_.group_size != 0)
      throw Error(
          ErrorCode::kInvalidArgument, "GROUP_SIZE",
          std::to_string(settings_.group_size) + " does not divide the " + std::to_string(whole) + " " + what,
          field_);
  }

  Settings settings_;
  std::string field_;
};

WRING_METHOD("kivi", KiviMethod);

}  // namespace
}  // namespace wring

// ThinK: the same channels leave all cached keys of a head, those that queries and keys are small in (Xu et
// al., ICLR 2025, section 3); values likewise, by their own size.
#include "engine/methods/kv/kv_method.h"
#include "engine/methods/kv/windowed_cache.h"

namespace wring {
namespace {

// A matrix without some of its channels, the same for all tokens of a head.
class NarrowMatrix {
 public:
  // importance [batch, heads, dim]; looked at once.
  void choose(const at::Tensor& importance, double sparsity) {
    if (kept_.defined()) return;
    const std::int64_t count = kept_count(importance.size(2), sparsity);
    const at::Tensor order = std::get<1>(at::sort(importance, /*stable=*/true, 2, /*descending=*/true));
    kept_ = std::get<0>(order.narrow(2, 0, count).sort(2)).unsqueeze(2);
    width_ = importance.size(2);
  }
  void append(const at::Tensor& x, at::ScalarType dtype) {
    const at::Tensor kept = x.gather(3, kept_.expand({-1, -1, x.size(2), -1})).to(dtype);
    stored_ = stored_.defined() ? at::cat({stored_, kept}, 2) : kept;
  }
  // With zeros where channels left.
  at::Tensor whole() const {
    if (!stored_.defined()) return {};
    return at::zeros({stored_.size(0), stored_.size(1), stored_.size(2), width_}, stored_.options())
        .scatter_(3, kept_.expand({-1, -1, stored_.size(2), -1}), stored_);
  }
  std::uint64_t bytes() const { return stored_.defined() ? stored_.nbytes() + kept_.nbytes() : 0; }

 private:
  at::Tensor kept_, stored_;  // int64 [batch, heads, 1, kept], rising; [batch, heads, tokens, kept]
  std::int64_t width_ = 0;
};

class Think final : public WindowedCache {
 public:
  Think(const Window& window, double k_sparsity, double v_sparsity)
      : WindowedCache(window, true), k_sparsity_(k_sparsity), v_sparsity_(v_sparsity) {}

 protected:
  // The squared norm of a channel's share of q k^T: |q_d|^2 |k_d|^2 (eq. 3), over the group's queries.
  void compress(const at::Tensor& key, const at::Tensor& value) override {
    keys_.choose(grouped_queries().square().mean(3).sum(2) * key.square().mean(2), k_sparsity_);
    values_.choose(value.square().mean(2), v_sparsity_);
    keys_.append(key, window().dtype);
    values_.append(value, window().dtype);
  }
  std::pair<at::Tensor, at::Tensor> compressed() const override { return {keys_.whole(), values_.whole()}; }
  std::uint64_t compressed_bytes() const override { return keys_.bytes() + values_.bytes(); }

 private:
  double k_sparsity_, v_sparsity_;
  NarrowMatrix keys_, values_;
};

class ThinkMethod final : public KvMethod {
 public:
  explicit ThinkMethod(const Params& params)
      : KvMethod("think", params),
        k_sparsity_(params.get<double>("k_sparsity")),
        v_sparsity_(params.get<double>("v_sparsity")),
        window_{params.get<std::int64_t>("window"), params.get<std::int64_t>("chunk"),
                params.dtype("value_dtype")} {}

  std::unique_ptr<BlockCache> make_block(std::size_t) const override {
    return std::make_unique<Think>(window_, k_sparsity_, v_sparsity_);
  }

 private:
  double k_sparsity_, v_sparsity_;
  Window window_;
};

WRING_METHOD("think", ThinkMethod);

}  // namespace
}  // namespace wring

// MoDeGPT: the inside of each pair of matrices gets narrower, so that what the pair gives is kept best (Lin
// et al., ICLR 2025). Symbols are the paper's: C a second moment, phi the share of a block that goes, s its
// influence.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_walk.h"
#include "engine/methods/structured/block_influence.h"
#include "engine/methods/structured/groups.h"
#include "engine/model/rotary_heads.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"

namespace wring {
namespace {

// C = mean of x x^T, [n, n] fp64. The sums are divided by the tokens, and ridges are shares of C's mean
// diagonal: nothing depends on how long the calibration text is.
at::Tensor second_moment(const Statistics& x, const std::string& what) {
  const at::Tensor c = x.hessian().cpu().to(at::kDouble) / 2;
  if (!at::isfinite(c).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                "the inputs of " + what + " hold NaN or infinity on the calibration data");
  return c;
}

double mean_diagonal(const at::Tensor& c) {
  return c.diagonal().mean().item<double>();
}

at::Tensor weight_of(const Layer& layer) {
  return layer.weight().decode(at::kFloat).cpu().to(at::kDouble);
}

// Lower L with L L^T = C + ridge I. Sums in fp32 may not be quite positive: then the ridge grows tenfold.
at::Tensor lower_factor(const at::Tensor& c, double& ridge) {
  for (ridge = std::max(ridge, 1e-30);; ridge *= 10) {
    const auto [lower, info] = at::linalg_cholesky_ex(c + ridge * at::eye(c.size(0), c.options()));
    if (info.item<int>() == 0) return lower;
  }
}

// phi_l = L ratio softmax(-s / temperature)_l, which maximises sum_l s_l (1 - phi_l) + temperature H(phi).
// None is above `most`: what is, goes to the others in proportion. Blocks of other sizes count by their
// weights.
std::vector<double> allocate(const std::vector<double>& s, const std::vector<double>& weights, double ratio,
                             double temperature, double most) {
  std::vector<double> phi(s.size());
  std::vector<std::size_t> open(s.size());
  std::iota(open.begin(), open.end(), 0);
  double budget = ratio * std::accumulate(weights.begin(), weights.end(), 0.0);
  while (!open.empty()) {
    const double least =
        s[*std::min_element(open.begin(), open.end(), [&](auto a, auto b) { return s[a] < s[b]; })];
    const auto portion = [&](std::size_t l) { return std::exp((least - s[l]) / temperature); };
    double sum = 0;
    for (const std::size_t l : open) sum += portion(l) * weights[l];
    for (const std::size_t l : open) phi[l] = std::min(most, budget * portion(l) / sum);
    const auto capped =
        std::stable_partition(open.begin(), open.end(), [&](auto l) { return phi[l] < most; });
    if (capped == open.end()) break;
    for (auto l = capped; l != open.end(); ++l) budget -= most * weights[*l];
    open.erase(capped, open.end());
  }
  return phi;
}

// Type I, Nystroem: FFN channels.
struct Channels {
  at::Tensor kept, down;  // int64 [k], rising; [out, k] fp64
  double error;           // ||W x - W' x_J||^2 / ||W x||^2 on the calibration text
};

// r_i = [C (C + lambda I)^-1]_ii = 1 - lambda [(C + lambda I)^-1]_ii
at::Tensor ridge_leverage(const at::Tensor& c, double lambda) {
  const at::Tensor lower = lower_factor(c, lambda);
  return 1 - lambda * at::cholesky_inverse(lower).diagonal();
}

// J: the k channels of largest leverage. W' = W C[:, J] C[J, J]^-1, least squares of W x by x_J, or W[:, J].
// C [in, in] of the down projection's input, W [out, in] its weight.
Channels narrow_mlp(const at::Tensor& c, const at::Tensor& w, std::int64_t k, double lambda, bool refit) {
  const at::Tensor order = std::get<1>(at::sort(ridge_leverage(c, lambda * mean_diagonal(c)), /*stable=*/true,
                                                /*dim=*/0, /*descending=*/true));
  Channels narrow{std::get<0>(at::sort(order.narrow(0, 0, k))), {}, 0};
  const at::Tensor to_kept = c.index_select(1, narrow.kept),
                   among_kept = to_kept.index_select(0, narrow.kept), product = at::mm(w, to_kept);
  double ridge = 1e-6 * mean_diagonal(c);
  narrow.down = refit ? at::cholesky_solve(product.t(), lower_factor(among_kept, ridge)).t()
                      : w.index_select(1, narrow.kept);
  const double whole = (at::mm(w, c) * w).sum().item<double>();
  const double lost =
      whole + ((at::mm(narrow.down, among_kept) - 2 * product) * narrow.down).sum().item<double>();
  narrow.error = whole > 0 ? std::max(0.0, lost) / whole : 0;
  return narrow;
}

// Type II, column-row selection: of the query heads and their KV head the pairs of channels whose products
// are largest. Mean squares of query [heads * width] and key [kv_heads * width] after rotation; a pair's
// score is the root of sum C_q,ii C_k,ii over its two channels and the query heads. -> int64 [kv_heads, n],
// rising.
at::Tensor narrow_queries(const at::Tensor& query, const at::Tensor& key, const RotaryHeads& heads,
                          std::int64_t n) {
  const at::Tensor q = query.reshape({heads.kv_heads, heads.heads / heads.kv_heads, 2, -1}),
                   k = key.reshape({heads.kv_heads, 1, 2, -1});
  const at::Tensor score = (q * k).sum(at::IntArrayRef{1, 2}).sqrt();
  const at::Tensor order = std::get<1>(at::sort(score, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  return std::get<0>(at::sort(order.narrow(1, 0, n), 1));
}

// Type III, SVD: values and outputs.
struct Values {
  at::Tensor v, v_bias, o;  // [kv_heads * k, in], its bias or undefined, [out, heads * k], fp64
  double error;             // ||C^1/2 (W_v W_o - W_v' W_o')||^2 / ||C^1/2 W_v W_o||^2, of all heads
};

// For each KV head, with C of the attention's input:
//   U S V^T = C^1/2 W_v; U' S' V'^T = S V^T W_o, the outputs of its query heads side by side;
//   W_v' = C^-1/2 U U'_k; W_o' = S'_k V'_k^T.
// V and S^2 are those of W_v^T C W_v, and C^-1/2 U = W_v V S^-1: no root of C is taken. The bias goes the way
// of W_v.  v [kv_heads * width, in] and o [out, heads * width] are W_v^T and W_o^T.
Values narrow_values(const at::Tensor& c, const at::Tensor& v, const at::Tensor& v_bias, const at::Tensor& o,
                     const RotaryHeads& heads, std::int64_t k) {
  const std::int64_t width = heads.value_width, group = heads.heads / heads.kv_heads, out = o.size(0);
  std::vector<at::Tensor> all_v, all_biases, all_o;
  double lost = 0, whole = 0;
  for (std::int64_t head = 0; head < heads.kv_heads; ++head) {
    const at::Tensor w = v.narrow(0, head * width, width);
    const auto [squares, right] = at::linalg_eigh(at::mm(at::mm(w, c), w.t()));
    const at::Tensor s = squares.clamp_min(0).sqrt(),
                     inverse = at::where(s > 1e-9 * s.max(), 1 / s, at::zeros_like(s));
    const at::Tensor w_o = o.narrow(1, head * group * width, group * width)
                               .reshape({out, group, width})
                               .permute({2, 1, 0})
                               .reshape({width, group * out});
    const auto [left, singular, outputs] = at::linalg_svd(s.unsqueeze(1) * at::mm(right.t(), w_o), false);
    const at::Tensor mix = at::mm(right * inverse, left.narrow(1, 0, k)).t();  // [k, width]: v' = mix v
    all_v.push_back(at::mm(mix, w));
    if (v_bias.defined()) all_biases.push_back(at::mv(mix, v_bias.narrow(0, head * width, width)));
    all_o.push_back((singular.narrow(0, 0, k).unsqueeze(1) * outputs.narrow(0, 0, k))
                        .reshape({k, group, out})
                        .permute({2, 1, 0})
                        .reshape({out, group * k}));
    lost += singular.narrow(0, k, width - k).square().sum().item<double>();
    whole += singular.square().sum().item<double>();
  }
  return {at::cat(all_v), all_biases.empty() ? at::Tensor() : at::cat(all_biases), at::cat(all_o, 1),
          whole > 0 ? lost / whole : 0};
}

// The inside of a block's modules: FFN channels; of a head the channels of query and key, and of its value.
// 0: that module stays as it is.
struct Widths {
  std::int64_t ffn = 0, query = 0, value = 0;
  bool operator==(const Widths&) const = default;
};

// What may be narrowed of one block.
struct Part {
  std::size_t block = 0;
  std::optional<PrunableGroups> ffn;
  std::optional<RotaryHeads> heads;
  Widths whole, cost;  // cost: weights of one channel, of all heads alike

  double weights(const Widths& w) const {
    return static_cast<double>(w.ffn * cost.ffn + w.query * cost.query + w.value * cost.value);
  }
};

std::int64_t rounded(double width, std::int64_t multiple, std::int64_t whole) {
  const auto near = std::llround(width / static_cast<double>(multiple)) * multiple;
  return std::clamp<std::int64_t>(near, std::min(multiple, whole), whole);
}

// In what a layer holds its values; GGUF's blocks do not survive a cut.
at::Tensor as_in(const Layer& layer, const at::Tensor& values) {
  const bool encoded = layer.weight().format() == "ggml";
  return values.to(encoded ? at::kFloat : source_dtype(layer.weight())).contiguous();
}

class Modegpt final : public Method {
 public:
  explicit Modegpt(const Params& params)
      : ratio_(params.get<double>("ratio")),
        temperature_(params.get<double>("temperature")),
        most_(params.get<double>("most")),
        leverage_ridge_(params.get<double>("leverage_ridge")),
        value_ridge_(params.get<double>("value_ridge")),
        refit_(params.get<bool>("refit")),
        by_influence_(params.get<std::string>("allocation") == "influence"),
        multiple_(params.get<std::int64_t>("multiple")),
        head_multiple_(params.get<std::int64_t>("head_multiple")),
        modules_(params.get<std::string>("modules")),
        field_(params.field("")) {}

  std::set<Statistic> needs() const override { return {Statistic::kHessian}; }

  void check_model(const Model& model, const std::set<const Layer*>& targets) const override {
    if (ratio_ > most_)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "no block may lose so much: most is less",
                  field_ + "ratio", "Lower ratio, or raise most.");
    if (head_multiple_ % 2 != 0)
      throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "an odd number parts a pair of channels",
                  field_ + "head_multiple", "Channels of queries and keys rotate in pairs: an even number.");
    find_parts(model, targets);
  }

  Json run(const StageInput& stage) const override {
    const auto parts = find_parts(stage.model, stage.targets);
    const auto influence = by_influence_ ? influence_of_blocks(stage) : std::vector<double>();
    const auto widths = choose_widths(parts, influence);
    const auto index_of = [&](std::size_t block) {
      return static_cast<std::size_t>(
          std::find_if(parts.begin(), parts.end(), [&](const Part& part) { return part.block == block; }) -
          parts.begin());
    };
    Json lines = Json::array();
    const auto measure = [&](std::size_t block, BlockStream& stream) -> BlockTensors {
      const std::size_t i = index_of(block);
      if (i < parts.size() && !(widths[i] == parts[i].whole))
        return narrow(stage, parts[i], widths[i], stream);
      if (stage.calibration.propagate == Propagate::kDense) stream.advance(block);
      return {};
    };
    walk_blocks(stage, measure, [&](std::size_t block, const BlockTensors& found) {
      if (const std::size_t i = index_of(block); i < parts.size())
        for (Json& line : put_in(stage.model, parts[i], widths[i], found)) {
          if (by_influence_) line["influence"] = influence[block];
          lines.push_back(std::move(line));
        }
    });
    double before = 0, after = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      before += parts[i].weights(parts[i].whole);
      after += parts[i].weights(widths[i]);
    }
    return {{"layers", std::move(lines)},
            {"weights_removed", std::llround(before - after)},
            {"share_removed", (before - after) / before}};
  }

  void try_out(Layer& layer, const Statistics* x) const override {
    const bool down = layer.axes().at(1).ends_with(".ffn");
    if (x && down && modules_.starts_with("mlp"))
      narrow_mlp(second_moment(*x, layer.name()), weight_of(layer),
                 rounded((1 - ratio_) * static_cast<double>(x->features()), 1, x->features()),
                 leverage_ridge_, refit_);
    shrink(layer, ratio_);
  }

 private:
  bool chosen(const char* module) const { return modules_.find(module) != std::string::npos; }

  std::vector<Part> find_parts(const Model& model, const std::set<const Layer*>& targets) const {
    std::vector<Part> parts;
    for (auto& groups : prunable_groups(model, targets)) {
      const bool heads = groups.groups.kind == CoupledGroups::Kind::kHeads;
      if (heads ? !chosen("qk") && !chosen("vo") : !chosen("mlp")) continue;
      const std::size_t block = groups.groups.block.value();
      if (parts.empty() || parts.back().block != block) parts.emplace_back().block = block;
      Part& part = parts.back();
      if (!heads) {
        part.whole.ffn = groups.groups.count;
        part.cost.ffn = groups.cost;
        part.ffn = std::move(groups);
        continue;
      }
      part.heads = rotary_heads(model, block);
      part.cost.query = part.cost.value = model.hidden_size() * (part.heads->heads + part.heads->kv_heads);
      if (chosen("qk")) part.whole.query = part.heads->query_width;
      if (chosen("vo")) part.whole.value = part.heads->value_width;
    }
    if (parts.empty())
      throw Error(ErrorCode::kInvalidArgument, "NOTHING_TO_CUT", "no layer of these modules is targeted",
                  field_ + "modules", "Target the linear layers of blocks, as the default does.");
    return parts;
  }

  // s of each block, from a pass of its own over the dense model: the shares must be known before the first
  // block is narrowed. A snapshot keeps it as one of a walk that has no block behind it.
  static std::vector<double> influence_of_blocks(const StageInput& stage) {
    const std::size_t count = stage.model.block_count();
    std::vector<double> influence(count);
    if (stage.snapshot.state()) try {
        const at::Tensor kept = stage.snapshot.part("influence").tensors.at("influence");
        if (static_cast<std::size_t>(kept.numel()) != count)
          throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "it has other blocks");
        std::copy_n(kept.const_data_ptr<double>(), count, influence.begin());
        return influence;
      } catch (const std::exception&) {  // damaged, or of a run that measured none
        stage.snapshot.clear();
      }
    BlockStream stream(stage.model, stage.calibration);
    for (std::size_t block = 0; block < count; ++block) {
      stage.progress.report(block, count, "blocks", "influence", block > 0 ? influence[block - 1] : 0);
      influence[block] = 1 - cosine_across(stream, stage.calibration, [&] { stream.advance(block); });
      if (!std::isfinite(influence[block]))
        throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                    "the outputs of block " + std::to_string(block) +
                        " hold NaN or infinity on the calibration data");
    }
    stage.snapshot.put("influence", {{"influence", at::tensor(influence, at::kDouble)}});
    stage.snapshot.commit({{"blocks", 0}, {"hidden", false}, {"reports", Json::array()}});
    return influence;
  }

  // What stays of each part. The FFN makes up for what the rounding of heads left; where blocks may differ,
  // the next block for what is left then.
  std::vector<Widths> choose_widths(const std::vector<Part>& parts,
                                    const std::vector<double>& influence) const {
    std::vector<double> s, weights;
    for (const Part& part : parts) {
      s.push_back(by_influence_ ? influence[part.block] : 0);
      weights.push_back(part.weights(part.whole));
    }
    const auto phi = allocate(s, weights, ratio_, temperature_, most_);
    std::vector<Widths> all;
    double owed = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      const auto staying = [&](std::int64_t whole) { return (1 - phi[i]) * static_cast<double>(whole); };
      const double wanted = (1 - phi[i]) * weights[i] + owed;
      Widths kept{0, rounded(staying(part.whole.query), head_multiple_, part.whole.query),
                  rounded(staying(part.whole.value), head_multiple_, part.whole.value)};
      if (part.ffn)
        kept.ffn = rounded((wanted - part.weights(kept)) / static_cast<double>(part.cost.ffn), multiple_,
                           part.whole.ffn);
      if (by_influence_) owed = wanted - part.weights(kept);
      all.push_back(kept);
    }
    return all;
  }

  // The new matrices of a block, from the second moments of its modules.
  BlockTensors narrow(const StageInput& stage, const Part& part, const Widths& kept,
                      BlockStream& stream) const {
    std::set<const Layer*> watched;
    if (part.ffn) watched.insert(&stage.model.reader_of(part.ffn->groups));
    if (part.heads) watched.insert(part.heads->q);
    TapObserver observer(watched, needs());
    const std::int64_t positions = stage.calibration.ids.size(1);
    const auto rotated_by = [&](const Layer* layer) {
      return
          [&, layer](const at::Tensor& x) { return rotated(stage.model, part.block, *layer, x, positions); };
    };
    if (kept.query < part.whole.query) {
      observer.derive(*part.heads->q, "query", rotated_by(part.heads->q));
      observer.derive(*part.heads->q, "key", rotated_by(part.heads->k));
    }
    if (stage.calibration.propagate == Propagate::kDense)
      stream.observe_and_advance(part.block, observer);
    else
      stream.observe(part.block, observer);

    BlockTensors found;
    if (kept.ffn < part.whole.ffn) add_channels(stage.model, part, kept.ffn, observer, found);
    if (kept.query < part.whole.query) {
      const auto mean_squares = [&](const char* tap) {
        return second_moment(*observer.by_tap().at(tap), part.heads->q->name()).diagonal();
      };
      found["pairs"] =
          narrow_queries(mean_squares("query"), mean_squares("key"), *part.heads, kept.query / 2);
    }
    if (kept.value < part.whole.value) add_values(part, kept.value, observer, found);
    return found;
  }

  void add_channels(Model& model, const Part& part, std::int64_t k, const TapObserver& observer,
                    BlockTensors& found) const {
    const Layer& down = model.reader_of(part.ffn->groups);
    const auto channels = narrow_mlp(second_moment(*observer.of(down), down.name()), weight_of(down), k,
                                     leverage_ridge_, refit_);
    found["channels"] = channels.kept;
    found["down"] = as_in(down, channels.down);
    found["mlp_error"] = at::tensor({channels.error}, at::kDouble);
  }

  void add_values(const Part& part, std::int64_t k, const TapObserver& observer, BlockTensors& found) const {
    const auto& [q, key, v, o, heads, kv_heads, query_width, value_width] = *part.heads;
    at::Tensor c = second_moment(*observer.of(*q), q->name());
    c.diagonal().add_(value_ridge_ * mean_diagonal(c));
    const at::Tensor bias = v->bias().defined() ? v->bias().cpu().to(at::kDouble) : at::Tensor();
    const auto values = narrow_values(c, weight_of(*v), bias, weight_of(*o), *part.heads, k);
    found["v"] = as_in(*v, values.v);
    found["o"] = as_in(*o, values.o);
    if (bias.defined()) found["v_bias"] = values.v_bias.to(v->bias().scalar_type());
    found["values_error"] = at::tensor({values.error}, at::kDouble);
  }

  // Puts them into the model. Returns the report's lines of the block.
  static std::vector<Json> put_in(Model& model, const Part& part, const Widths& kept,
                                  const BlockTensors& found) {
    std::vector<Json> lines;
    if (found.contains("pairs")) keep_rotary_pairs(model, part.block, found.at("pairs"));
    if (found.contains("v")) {
      const auto bias = found.find("v_bias");
      replace_values(model, part.block,
                     {dense_rep(found.at("v")), dense_rep(found.at("o")),
                      bias == found.end() ? at::Tensor() : bias->second});
    }
    if (part.heads) {
      const Layer& o = *part.heads->o;
      lines.push_back(
          {{"layer", o.name()}, {"block", part.block}, {"shape", {o.weight().rows(), o.weight().columns()}}});
      if (part.whole.query > 0)
        lines.back().update({{"query_width", kept.query}, {"of_query", part.whole.query}});
      if (part.whole.value > 0)
        lines.back().update({{"value_width", kept.value}, {"of_value", part.whole.value}});
      if (found.contains("v")) lines.back()["error"] = found.at("values_error").item<double>();
    }
    if (!part.ffn) return lines;
    const at::Tensor channels =
        found.contains("channels") ? found.at("channels") : at::arange(part.whole.ffn, at::kLong);
    Layer& down = model.reader_of(part.ffn->groups);
    lines.push_back(cut_down(model, *part.ffn, channels));
    if (!found.contains("channels")) return lines;
    down.set_weight(dense_rep(found.at("down")));
    lines.back()["error"] = found.at("mlp_error").item<double>();
    return lines;
  }

  double ratio_, temperature_, most_, leverage_ridge_, value_ridge_;
  bool refit_, by_influence_;
  std::int64_t multiple_, head_multiple_;
  std::string modules_, field_;
};

WRING_METHOD("modegpt", Modegpt);

}  // namespace
}  // namespace wring

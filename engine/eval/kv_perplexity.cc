// Perplexity through the cache that the model writes text by, and the cache's bytes.
//
// Protocol: windows of the text, one behind the other. `prefill` tokens go through the model at once; the
// next `scored` ones follow `step` at a time, each step through what the cache has kept of those before.
// Every token that is scored was predicted through the cache. Teacher-forced, so all windows stream through
// block by block.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/error.h"
#include "engine/eval/suite.h"
#include "engine/model/generate.h"
#include "engine/model/rotary_heads.h"
#include "engine/text/corpus.h"

namespace wring {
namespace {

constexpr const char* kStates = "states";   // of scored_states(), among an evaluation's outputs
constexpr std::int64_t kRowsPerHead = 128;  // logits of so many positions are in memory at once

struct Protocol {
  std::int64_t prefill, scored, step;
  std::int64_t window() const { return prefill + scored + 1; }
};

at::Tensor cut_windows(const Params& params, const EvaluationInput& input, const Protocol& protocol) {
  const auto name = params.get<std::string>("data");
  const std::int64_t window = protocol.window();
  const auto ids = tokenize_corpus(input.data(name), name, input.tokenizer, static_cast<std::size_t>(window));
  const auto count =
      std::min(params.get<std::int64_t>("windows"), static_cast<std::int64_t>(ids.size()) / window);
  return at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt)
      .to(at::kLong)
      .narrow(0, 0, count * window)
      .view({count, window});
}

// Final normed hidden states [windows, scored, hidden] fp32 that predict the scored tokens; bytes [windows]
// of all blocks' caches at the end.
struct Scored {
  at::Tensor states;
  std::vector<double> bytes;
};

// What one block makes of a window's hidden states [1, prefill + scored, hidden], by way of its cache.
at::Tensor run_through_cache(const Model& model, std::size_t block, const at::Tensor& hidden,
                             const Protocol& protocol, double& bytes) {
  KvCache cache(model.kv_policy());
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < hidden.size(1);) {
    const std::int64_t count =
        first == 0 ? protocol.prefill : std::min(protocol.step, hidden.size(1) - first);
    ForwardContext context;
    context.cache = &cache;
    parts.push_back(model.run_block(block, hidden.narrow(1, first, count), context));
    cache.advance(count);
    first += count;
  }
  bytes += static_cast<double>(cache.bytes());
  return at::cat(parts, 1);
}

Scored scored_states(Model& model, const at::Tensor& windows, const Protocol& protocol,
                     const std::function<void()>& step) {
  std::vector<at::Tensor> hidden;
  {
    const DecodedLayers decoded(model.embedding_layers(), at::kFloat);
    for (const auto& ids : windows.narrow(1, 0, protocol.window() - 1).split(1))
      hidden.push_back(model.embed(ids.to(model.device()), at::kFloat));
  }
  Scored scored{{}, std::vector<double>(hidden.size())};
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    const DecodedLayers decoded(model.block_layers(block), at::kFloat);
    for (std::size_t w = 0; w < hidden.size(); ++w) {
      hidden[w] = run_through_cache(model, block, hidden[w], protocol, scored.bytes[w]);
      step();
    }
  }
  for (auto& h : hidden) h = model.final_norm(h.narrow(1, protocol.prefill, protocol.scored));
  scored.states = at::cat(hidden, 0);
  return scored;
}

// Of scored tokens, fp64; kl and agrees undefined without a reference.
struct Figures {
  at::Tensor nll, kl, agrees;
};

Figures figures_of(const Model& model, const at::Tensor& states, const at::Tensor& next,
                   const Model* reference, const at::Tensor& dense_states) {
  std::vector<at::Tensor> nll, kl, agrees;
  for (std::int64_t first = 0; first < next.size(0); first += kRowsPerHead) {
    const std::int64_t rows = std::min(kRowsPerHead, next.size(0) - first);
    const auto log_p = at::log_softmax(model.head(states.narrow(0, first, rows)), -1);
    nll.push_back(log_p.gather(1, next.narrow(0, first, rows).unsqueeze(1)).squeeze(1).neg().to(at::kDouble));
    if (!reference) continue;
    const auto log_q = at::log_softmax(reference->head(dense_states.narrow(0, first, rows)), -1);
    kl.push_back((log_q.exp() * (log_q - log_p)).sum(-1).to(at::kDouble));
    agrees.push_back(log_p.argmax(-1).eq(log_q.argmax(-1)).to(at::kDouble));
  }
  return {at::cat(nll), reference ? at::cat(kl) : at::Tensor(), reference ? at::cat(agrees) : at::Tensor()};
}

// Of texts' means: texts are independent, a text's tokens are not.
double standard_error(const at::Tensor& by_window) {
  const auto n = by_window.size(0);
  return n < 2 ? 0 : std::sqrt(by_window.mean(1).var(0).item<double>() / static_cast<double>(n));
}

EvaluationRow row(const char* metric, double value, std::optional<double> error, const char* unit,
                  std::int64_t n) {
  EvaluationRow r;
  r.suite = "kv-perplexity";
  r.metric = metric;
  r.value = value;
  r.standard_error = error;
  r.unit = unit;
  r.n = static_cast<std::uint64_t>(n);
  return r;
}

std::vector<double> listed(const at::Tensor& values) {
  const at::Tensor v = values.to(at::kCPU, at::kDouble).contiguous();
  return {v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel()};
}

// Of keys and values of every position in float16.
double dense_bytes(const Model& model, const Protocol& protocol) {
  std::int64_t elements = 0;
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    const RotaryHeads heads = rotary_heads(model, block);
    elements += heads.kv_heads * (heads.query_width + heads.value_width);
  }
  return 2.0 * static_cast<double>(elements * (protocol.prefill + protocol.scored));
}

std::vector<EvaluationRow> make_rows(const Figures& figures, const std::vector<double>& bytes, double dense,
                                     const Protocol& protocol) {
  const std::int64_t n = figures.nll.numel();
  const double mean = figures.nll.mean().item<double>(), error = standard_error(figures.nll);
  if (!std::isfinite(mean))
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the model's logits are not finite", "",
                "A weight or an activation overflowed.");
  std::vector<EvaluationRow> rows{row("perplexity", std::exp(mean), std::exp(mean) * error, "", n),
                                  row("nll", mean, error, "nats/token", n)};
  rows[0].details = {{"prefill", protocol.prefill},
                     {"step", protocol.step},
                     {"windows", figures.nll.size(0)},
                     {"window_nll", listed(figures.nll.sum(1))},
                     {"window_scored", std::vector<std::int64_t>(bytes.size(), protocol.scored)}};
  if (figures.kl.defined()) {
    rows.push_back(
        row("kl_mean", figures.kl.mean().item<double>(), standard_error(figures.kl), "nats/token", n));
    rows.back().details = {{"window_kl", listed(figures.kl.sum(1))}};
    rows.push_back(
        row("top1_agreement", figures.agrees.mean().item<double>(), standard_error(figures.agrees), "", n));
  }
  const double held = std::accumulate(bytes.begin(), bytes.end(), 0.0) / static_cast<double>(bytes.size());
  const auto texts = static_cast<std::int64_t>(bytes.size());
  rows.push_back(row("cache_bytes", held, std::nullopt, "bytes", texts));
  rows.back().details = {{"positions", protocol.prefill + protocol.scored}, {"window_bytes", bytes}};
  rows.push_back(row("cache_share", held / dense, std::nullopt, "", texts));
  return rows;
}

std::vector<EvaluationRow> kv_perplexity(const Params& params, EvaluationInput& input) {
  const Protocol protocol{params.get<std::int64_t>("prefill"), params.get<std::int64_t>("scored"),
                          params.get<std::int64_t>("step")};
  if (const auto context = context_length(input.model); protocol.window() - 1 > context)
    throw Error(ErrorCode::kInvalidArgument, "BEYOND_CONTEXT",
                std::to_string(protocol.window() - 1) + " tokens are more than the model's context of " +
                    std::to_string(context),
                params.field("prefill"), "Shorten prefill or scored.");
  const at::Tensor windows = cut_windows(params, input, protocol);
  Model* const reference = input.reference;
  const auto known = input.reference_outputs.find(kStates);
  const bool is_known = known != input.reference_outputs.end();
  const auto count = static_cast<std::uint64_t>(windows.size(0));
  const auto passes =
      count * (input.model.block_count() + (reference && !is_known ? reference->block_count() : 0));
  std::uint64_t done = 0;
  const auto step = [&] { input.progress.report(++done * count / passes, count, "windows"); };
  const Scored scored = scored_states(input.model, windows, protocol, step);
  if (input.outputs) input.outputs->push_back({kStates, scored.states});
  at::Tensor dense_states;
  if (reference)
    dense_states = is_known ? known->second.to(scored.states.device())
                            : scored_states(*reference, windows, protocol, step).states;
  const DecodedLayers decoded(input.model.head_layers(), at::kFloat);
  std::optional<DecodedLayers> dense_decoded;
  if (reference) dense_decoded.emplace(reference->head_layers(), at::kFloat);
  std::vector<at::Tensor> nll, kl, agrees;
  for (std::int64_t w = 0; w < windows.size(0); ++w) {
    const auto next = windows[w].narrow(0, protocol.prefill + 1, protocol.scored).to(scored.states.device());
    const Figures f = figures_of(input.model, scored.states[w], next, reference,
                                 reference ? dense_states[w] : at::Tensor());
    nll.push_back(f.nll);
    kl.push_back(f.kl);
    agrees.push_back(f.agrees);
  }
  const Figures all{at::stack(nll), reference ? at::stack(kl) : at::Tensor(),
                    reference ? at::stack(agrees) : at::Tensor()};
  return make_rows(all, scored.bytes, dense_bytes(input.model, protocol), protocol);
}

WRING_SUITE("kv-perplexity", kv_perplexity);

}  // namespace
}  // namespace wring

// Perplexity on windows of a text, with KL divergence and top-1 agreement to a reference model.
//
// Protocol: the whole text without special tokens, windows of `window` ids every `stride`; in each,
// positions 1.. (with overlap: only those no earlier window scored) are scored from the same window only; ppl
// = exp(sum NLL / scored).
#include <algorithm>
#include <cmath>
#include <optional>

#include "common/error.h"
#include "engine/eval/suite.h"
#include "engine/text/corpus.h"

namespace wring {
namespace {

constexpr std::int64_t kRowsPerHead = 128;  // logits of so many positions are in memory at once
constexpr const char* kStates = "states";   // of normed_states(), among an evaluation's outputs

struct Windows {
  at::Tensor ids;  // [windows, window] int64
  std::int64_t window = 0, stride = 0;
  std::int64_t first_scored(std::int64_t w) const { return w == 0 || stride >= window ? 1 : window - stride; }
};

Windows cut_windows(const Params& params, const EvaluationInput& input) {
  const auto name = params.get<std::string>("data");
  Windows cut;
  cut.window = params.get<std::int64_t>("window");
  cut.stride = params.get<std::int64_t>("stride");
  if (cut.stride == 0) cut.stride = cut.window;
  const auto ids =
      tokenize_corpus(input.data(name), name, input.tokenizer, static_cast<std::size_t>(cut.window));
  std::int64_t count = (static_cast<std::int64_t>(ids.size()) - cut.window) / cut.stride + 1;
  if (const auto limit = params.get<std::int64_t>("windows"); limit > 0) count = std::min(count, limit);
  const at::Tensor all = at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt).to(at::kLong);
  cut.ids = all.unfold(0, cut.window, cut.stride).narrow(0, 0, count).contiguous();
  return cut;
}

// Final normed hidden states of all windows, [windows, window, hidden] fp32: the model streamed block by
// block, so that every weight is decoded once and only one block's is held.
at::Tensor normed_states(Model& model, const Windows& cut, const std::function<void(std::uint64_t)>& step) {
  const std::int64_t count = cut.ids.size(0);
  std::vector<at::Tensor> hidden;
  {
    const DecodedLayers decoded(model.embedding_layers(), at::kFloat);
    for (std::int64_t w = 0; w < count; ++w)
      hidden.push_back(model.embed(cut.ids.narrow(0, w, 1).to(model.device()), at::kFloat));
  }
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    const DecodedLayers decoded(model.block_layers(block), at::kFloat);
    for (auto& h : hidden) {
      h = model.run_block(block, h, {});
      step(1);
    }
  }
  for (auto& h : hidden) h = model.final_norm(h);
  return at::cat(hidden, 0);
}

// Of one model, over scored positions.
struct Loss {
  std::vector<double> windows;
  double nll = 0, squares = 0;

  void add(const at::Tensor& values) {
    const double sum = values.sum().item<double>();
    nll += sum;
    squares += values.square().sum().item<double>();
    windows.back() += sum;
  }
};

// Sums over scored positions.
struct Sums {
  Loss loss, reference_loss;
  std::vector<double> window_kl;
  std::vector<std::int64_t> window_scored;
  double kl = 0, kl_squares = 0;
  std::int64_t scored = 0, agreed = 0;
  std::vector<float> kl_values;

  void begin_window() {
    for (auto* windows : {&loss.windows, &reference_loss.windows, &window_kl}) windows->push_back(0);
    window_scored.push_back(0);
  }
};

struct Scored {
  at::Tensor nll;                       // [rows] fp64
  at::Tensor reference_nll, kl, agree;  // fp64, fp64, int64; where there is a reference
};

Scored score_rows(const at::Tensor& logits, const at::Tensor& next, const at::Tensor& reference_logits) {
  const auto nll = [&](const at::Tensor& log_p) {
    return log_p.gather(1, next.unsqueeze(1)).squeeze(1).neg().to(at::kDouble);
  };
  Scored s;
  const auto log_p = at::log_softmax(logits, -1);
  s.nll = nll(log_p);
  if (!reference_logits.defined()) return s;
  const auto log_q = at::log_softmax(reference_logits, -1);
  s.reference_nll = nll(log_q);
  s.kl = (log_q.exp() * (log_q - log_p)).sum(-1).to(at::kDouble);
  s.agree = log_p.argmax(-1).eq(log_q.argmax(-1)).to(at::kLong);
  return s;
}

void add_rows(Sums& sums, const Scored& s) {
  sums.loss.add(s.nll);
  sums.scored += s.nll.numel();
  sums.window_scored.back() += s.nll.numel();
  if (!s.kl.defined()) return;
  sums.reference_loss.add(s.reference_nll);
  sums.kl += s.kl.sum().item<double>();
  sums.kl_squares += s.kl.square().sum().item<double>();
  sums.window_kl.back() += s.kl.sum().item<double>();
  sums.agreed += s.agree.sum().item<std::int64_t>();
  const auto values = s.kl.to(at::kCPU, at::kFloat).contiguous();
  sums.kl_values.insert(sums.kl_values.end(), values.const_data_ptr<float>(),
                        values.const_data_ptr<float>() + values.numel());
}

Sums score(Model& model, const at::Tensor& states, Model* reference, const at::Tensor& reference_states,
           const Windows& cut, const std::function<void(std::uint64_t)>& step) {
  const DecodedLayers decoded(model.head_layers(), at::kFloat);
  std::optional<DecodedLayers> reference_decoded;
  if (reference) reference_decoded.emplace(reference->head_layers(), at::kFloat);
  Sums sums;
  for (std::int64_t w = 0; w < cut.ids.size(0); ++w) {
    sums.begin_window();
    const auto next = cut.ids[w].to(states.device());
    for (std::int64_t start = cut.first_scored(w) - 1; start < cut.window - 1; start += kRowsPerHead) {
      const std::int64_t rows = std::min(kRowsPerHead, cut.window - 1 - start);
      const auto logits = model.head(states[w].narrow(0, start, rows));
      const auto dense =
          reference ? reference->head(reference_states[w].narrow(0, start, rows)) : at::Tensor();
      add_rows(sums, score_rows(logits, next.narrow(0, start + 1, rows), dense));
    }
    step(1);
  }
  return sums;
}

double standard_error(double sum, double squares, double n) {
  if (n < 2) return 0;
  const double variance = std::max(0.0, (squares - sum * sum / n) / (n - 1));
  return std::sqrt(variance / n);
}

EvaluationRow row(std::string metric, double value, std::optional<double> error, std::int64_t n) {
  EvaluationRow r;
  r.suite = "perplexity";
  r.metric = std::move(metric);
  r.value = value;
  r.standard_error = error;
  r.n = static_cast<std::uint64_t>(n);
  return r;
}

std::vector<EvaluationRow> loss_rows(const Loss& loss, const Sums& sums, const Windows& cut) {
  const double n = static_cast<double>(sums.scored), mean = loss.nll / n;
  const double error = standard_error(loss.nll, loss.squares, n);
  if (!std::isfinite(mean))
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the model's logits are not finite", "",
                "A weight or an activation overflowed.");
  std::vector<EvaluationRow> rows;
  rows.push_back(row("perplexity", std::exp(mean), std::exp(mean) * error, sums.scored));  // delta method
  rows.back().details = {{"window", cut.window},
                         {"stride", cut.stride},
                         {"windows", cut.ids.size(0)},
                         {"window_nll", loss.windows},
                         {"window_scored", sums.window_scored}};
  rows.push_back(row("nll", mean, error, sums.scored));
  rows.back().unit = "nats/token";
  return rows;
}

// Beside what the reference gives on the same tokens.
std::vector<EvaluationRow> compared_loss_rows(const Sums& sums, const Windows& cut) {
  auto rows = loss_rows(sums.loss, sums, cut);
  const auto dense = loss_rows(sums.reference_loss, sums, cut);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].baseline_value = dense[i].value;
  pair_by_window(rows, dense);
  return rows;
}

std::vector<EvaluationRow> make_rows(Sums& sums, const Windows& cut, bool with_reference) {
  const double n = static_cast<double>(sums.scored);
  if (!with_reference) return loss_rows(sums.loss, sums, cut);
  auto rows = compared_loss_rows(sums, cut);
  rows.push_back(row("kl_mean", sums.kl / n, standard_error(sums.kl, sums.kl_squares, n), sums.scored));
  rows.back().unit = "nats/token";
  rows.back().details = {{"window_kl", sums.window_kl}};
  std::sort(sums.kl_values.begin(), sums.kl_values.end());
  rows.push_back(
      row("kl_p99", sums.kl_values[static_cast<std::size_t>(0.99 * (n - 1))], std::nullopt, sums.scored));
  rows.back().unit = "nats/token";
  rows.push_back(row("kl_max", sums.kl_values.back(), std::nullopt, sums.scored));
  rows.back().unit = "nats/token";
  const double agreement = static_cast<double>(sums.agreed) / n;
  rows.push_back(row("top1_agreement", agreement, std::sqrt(agreement * (1 - agreement) / n), sums.scored));
  return rows;
}

std::vector<EvaluationRow> perplexity(const Params& params, EvaluationInput& input) {
  const Windows cut = cut_windows(params, input);
  Model* reference = params.get<bool>("reference") ? input.reference : nullptr;
  const ServedModel served(params, input);
  const auto passes = static_cast<std::uint64_t>(cut.ids.size(0)) * (input.model.block_count() + 1);
  const auto known = input.reference_outputs.find(kStates);
  const bool is_known = known != input.reference_outputs.end();
  const std::uint64_t total =
      passes +
      (reference && !is_known ? static_cast<std::uint64_t>(cut.ids.size(0)) * reference->block_count() : 0);
  std::uint64_t done = 0;
  const auto windows = static_cast<std::uint64_t>(cut.ids.size(0));
  const auto step = [&](std::uint64_t by) {
    done += by;
    input.progress.report(done * windows / total, windows, "windows");
  };
  const auto states = normed_states(input.model, cut, step);
  if (input.outputs) input.outputs->push_back({kStates, states});
  at::Tensor reference_states;
  if (reference)
    reference_states = is_known ? known->second.to(states.device()) : normed_states(*reference, cut, step);
  Sums sums = score(input.model, states, reference, reference_states, cut, step);
  auto rows = make_rows(sums, cut, reference != nullptr);
  served.note(rows);
  return rows;
}

WRING_SUITE("perplexity", perplexity);

}  // namespace
}  // namespace wring

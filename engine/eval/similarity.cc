// Sentence embeddings of an encoder against the reference model's: cosine, and overlap of nearest neighbours.
#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "engine/eval/suite.h"
#include "engine/model/generate.h"
#include "engine/model/padded_tokens.h"
#include "engine/text/corpus.h"

namespace wring {
namespace {

constexpr std::int64_t kBatch = 64;
constexpr const char* kEmbeddings = "embeddings";  // among an evaluation's outputs

// Mean over real tokens, scaled to length one: [sentences, hidden].
at::Tensor embeddings(Model& model, const PaddedTokens& tokens, Progress& progress) {
  const DecodedLayers decoded(model.layers(), at::kFloat);
  std::vector<at::Tensor> parts;
  for (std::int64_t start = 0; start < tokens.ids.size(0); start += kBatch) {
    const auto count = std::min(kBatch, tokens.ids.size(0) - start);
    ForwardContext context;
    context.attention_mask = tokens.mask.narrow(0, start, count).to(model.device());
    const auto states = model.forward(tokens.ids.narrow(0, start, count).to(model.device()), context);
    const auto weight = context.attention_mask.to(at::kFloat).unsqueeze(-1);
    const auto mean = (states * weight).sum(1) / weight.sum(1);
    parts.push_back(mean / mean.norm(2, -1, true).clamp_min(1e-12));
    progress.report(static_cast<std::uint64_t>(start + count), static_cast<std::uint64_t>(tokens.ids.size(0)),
                    "sentences");
  }
  return at::cat(parts, 0);
}

at::Tensor nearest(const at::Tensor& embedded, std::int64_t k) {
  auto similarity = embedded.matmul(embedded.t());
  similarity.fill_diagonal_(-2);
  return std::get<1>(similarity.topk(k, 1));
}

EvaluationRow row(std::string metric, double value, std::optional<double> error, std::int64_t n) {
  EvaluationRow r;
  r.suite = "similarity";
  r.metric = std::move(metric);
  r.value = value;
  r.standard_error = error;
  r.n = static_cast<std::uint64_t>(n);
  return r;
}

std::vector<EvaluationRow> similarity(const Params& params, EvaluationInput& input) {
  const auto name = params.get<std::string>("data");
  const auto sentences =
      read_sentences(input.data(name), name, static_cast<std::size_t>(params.get<std::int64_t>("sentences")));
  const auto longest = std::min(params.get<std::int64_t>("max_length"), context_length(input.model));
  const auto tokens = tokenize_sentences(sentences, longest, input.tokenizer);
  const auto n = static_cast<std::int64_t>(sentences.size());
  const auto k = std::min<std::int64_t>(params.get<std::int64_t>("neighbours"), n - 1);
  const ServedModel served(params, input);
  const auto ours = embeddings(input.model, tokens, input.progress);
  if (!at::isfinite(ours).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the model's embeddings are not finite");
  if (input.outputs) input.outputs->push_back({kEmbeddings, ours});
  const auto known = input.reference_outputs.find(kEmbeddings);
  const auto dense = !input.reference ? ours
                     : known != input.reference_outputs.end()
                         ? known->second.to(ours.device())
                         : embeddings(*input.reference, tokens, input.progress);
  const auto cosine = (ours * dense).sum(1).to(at::kDouble);
  const auto mine = nearest(ours, k), theirs = nearest(dense, k);
  const auto overlap = mine.unsqueeze(2).eq(theirs.unsqueeze(1)).any(2).to(at::kDouble).mean(1);
  const auto error = [&](const at::Tensor& t) {
    return t.std().item<double>() / std::sqrt(static_cast<double>(n));
  };
  std::vector<EvaluationRow> rows{row("cosine_mean", cosine.mean().item<double>(), error(cosine), n),
                                  row("cosine_min", cosine.min().item<double>(), std::nullopt, n),
                                  row("neighbour_overlap", overlap.mean().item<double>(), error(overlap), n)};
  served.note(rows);
  return rows;
}

WRING_SUITE("similarity", similarity);

}  // namespace
}  // namespace wring

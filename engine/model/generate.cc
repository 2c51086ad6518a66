// KV-cached decoding.
#include "engine/model/generate.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "common/error.h"

namespace wring {
namespace {

// One id from logits [vocabulary]: the largest, or a draw from the nucleus of the tempered distribution.
std::int32_t choose(const at::Tensor& logits, const GenerateOptions& options, std::mt19937_64& random) {
  if (options.temperature <= 0) return static_cast<std::int32_t>(logits.argmax().item<std::int64_t>());
  const auto sorted = at::softmax(logits.to(at::kCPU, at::kDouble) / options.temperature, -1).sort(-1, true);
  const auto p = std::get<0>(sorted).contiguous();
  const auto ids = std::get<1>(sorted).contiguous();
  const double* probability = p.const_data_ptr<double>();
  std::int64_t kept = 0;
  double mass = 0;
  while (kept < p.numel() && mass < options.top_p) mass += probability[kept++];
  double draw = std::generate_canonical<double, 53>(random) * mass;
  std::int64_t i = 0;
  while (i + 1 < kept && draw >= probability[i]) draw -= probability[i++];
  return static_cast<std::int32_t>(ids.const_data_ptr<std::int64_t>()[i]);
}

// Runs `ids` behind what the cache holds; returns the last position's logits [vocabulary].
at::Tensor step(Model& model, const std::vector<std::int32_t>& ids, KvCache& cache) {
  const auto input =
      at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt).to(at::kLong).unsqueeze(0).to(model.device());
  auto hidden = model.embed(input, at::kFloat);
  ForwardContext context;
  context.cache = &cache;
  for (std::size_t block = 0; block < model.block_count(); ++block)
    hidden = model.run_block(block, hidden, context);
  cache.advance(static_cast<std::int64_t>(ids.size()));
  auto logits = model.head(model.final_norm(hidden.narrow(1, hidden.size(1) - 1, 1))).reshape({-1});
  if (!at::isfinite(logits.sum()).item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the model's logits are not finite", "model",
                "A weight is damaged, or an activation overflowed.");
  return logits;
}

}  // namespace

std::int64_t context_length(const Model& model) {
  constexpr auto kNoBound = std::numeric_limits<std::int64_t>::max();
  const Json& config = model.config();
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json scaling = config.value(key, Json());
    if (!scaling.is_object()) continue;
    const auto type = json_or<std::string>(scaling, "type", "default", key);
    if (json_or<std::string>(scaling, "rope_type", type, key) != "default") return kNoBound;
  }
  return json_or<std::int64_t>(config, "max_position_embeddings", kNoBound, "config.json");
}

std::vector<std::int32_t> generate(Model& model, const std::vector<std::int32_t>& prompt,
                                   const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& on_token) {
  if (model.kind() != "decoder-lm")
    throw Error(ErrorCode::kInvalidArgument, "NOT_A_DECODER", "an encoder does not write text", "model");
  if (prompt.empty())
    throw Error(ErrorCode::kInvalidArgument, "EMPTY_PROMPT", "the prompt has no tokens", "prompt");
  if (const auto length = static_cast<std::int64_t>(prompt.size());
      length > context_length(model) - options.tokens)
    throw Error(ErrorCode::kInvalidArgument, "BEYOND_CONTEXT",
                "the prompt has " + std::to_string(length) + " tokens and " + std::to_string(options.tokens) +
                    " are to follow; the model's context has " + std::to_string(context_length(model)),
                "prompt", "Shorten the prompt, or ask for fewer tokens.");
  KvCache cache(model.kv_policy());
  std::mt19937_64 random(options.seed);
  std::vector<std::int32_t> written;
  auto logits = step(model, prompt, cache);
  while (static_cast<std::int64_t>(written.size()) < options.tokens) {
    const auto id = choose(logits, options, random);
    if (options.stop == id) break;
    written.push_back(id);
    if (on_token) on_token(id);
    if (static_cast<std::int64_t>(written.size()) < options.tokens) logits = step(model, {id}, cache);
  }
  return written;
}

DecodedLayers ready_for_decoding(Model& model) {
  std::vector<Layer*> slow;
  for (Layer* layer : model.layers()) {
    const auto probe = at::zeros({1, layer->weight().columns()}, model.device());
    if (!layer->weight().multiply(probe).defined()) slow.push_back(layer);
  }
  return DecodedLayers(std::move(slow), at::kFloat);
}

}  // namespace wring

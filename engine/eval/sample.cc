// A sample of text that the model writes.
#include <algorithm>

#include "engine/eval/suite.h"
#include "engine/model/generate.h"

namespace wring {
namespace {

std::vector<EvaluationRow> sample(const Params& params, EvaluationInput& input) {
  const auto prompt = params.get<std::string>("prompt");
  GenerateOptions options;
  options.tokens = params.get<std::int64_t>("tokens");
  options.temperature = params.get<double>("temperature");
  options.seed = input.seed;
  options.stop = input.tokenizer.end_of_text();
  const DecodedLayers decoded = ready_for_decoding(input.model);
  std::uint64_t count = 0;
  const auto prompt_ids = input.tokenizer.encode(prompt);
  const auto room = context_length(input.model) - static_cast<std::int64_t>(prompt_ids.size());
  options.tokens = std::min(options.tokens, std::max<std::int64_t>(room, 0));
  const auto ids = generate(input.model, prompt_ids, options, [&](std::int32_t) {
    input.progress.report(++count, static_cast<std::uint64_t>(options.tokens), "tokens");
  });
  EvaluationRow row;
  row.suite = "sample";
  row.metric = "text";
  row.value = static_cast<double>(ids.size());
  row.unit = "tokens";
  row.n = ids.size();
  row.seed = input.seed;
  row.text = prompt + input.tokenizer.decode(ids);
  return {row};
}

WRING_SUITE("sample", sample);

}  // namespace
}  // namespace wring

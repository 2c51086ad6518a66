// Memory at inference: how far the process grows when it loads the model again and uses it.
#include <algorithm>

#include "engine/eval/suite.h"
#include "engine/model/generate.h"
#include "engine/model/load.h"
#include "engine/run/hardware.h"

namespace wring {
namespace {

void use(Model& model, std::int64_t length, std::int64_t tokens) {
  if (model.kind() != "decoder-lm") {
    const DecodedLayers decoded(model.layers(), at::kFloat);
    (void)model.forward(at::ones({1, length}, at::kLong).to(model.device())).sum().item<float>();
    return;
  }
  const DecodedLayers decoded = ready_for_decoding(model);
  GenerateOptions options;
  options.tokens = std::min(tokens, context_length(model) - 1);
  const auto prompt = std::min(length, context_length(model) - options.tokens);
  (void)generate(model, std::vector<std::int32_t>(static_cast<std::size_t>(prompt), 1), options, {});
}

// Its files are mapped a second time, so that their pages count though the job's own copy has read them.
std::vector<EvaluationRow> memory(const Params& params, EvaluationInput& input) {
  const auto device = input.model.device();
  release_free_memory();  // else the model would lie in what the job has freed
  reset_peak_resident_bytes();
  reset_peak_device_bytes(device);
  const auto before = resident_bytes(), before_there = peak_device_bytes(device);
  use(*load_model(input.files, device), params.get<std::int64_t>("length"),
      params.get<std::int64_t>("decode_tokens"));
  const auto here = peak_resident_bytes() - std::min(peak_resident_bytes(), before);
  const auto there = peak_device_bytes(device) - before_there;
  EvaluationRow row;
  row.suite = "memory";
  row.metric = "inference_bytes";
  row.value = static_cast<double>(device.is_cpu() ? here : there);
  row.unit = "bytes";
  row.n = 1;
  row.details = {{"host_bytes", here}, {"device_bytes", there}, {"process_bytes_before", before}};
  return {row};
}

WRING_SUITE("memory", memory);

}  // namespace
}  // namespace wring

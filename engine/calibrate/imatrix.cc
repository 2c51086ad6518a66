// The calibration pass without compression: what it observes is the result.
#include "engine/calibrate/imatrix.h"

#include <set>

#include "engine/calibrate/tap_observer.h"
#include "engine/model/gguf_names.h"

namespace wring {
namespace {

// ||x_j||_2 squared is the sum that llama-imatrix writes.
ImatrixEntry entry_of(const Statistics& x) {
  const at::Tensor sums = x.input_norm().cpu().to(at::kDouble).square().to(at::kFloat).contiguous();
  return {{sums.const_data_ptr<float>(), sums.const_data_ptr<float>() + sums.numel()},
          {static_cast<float>(x.rows())}};
}

}  // namespace

Imatrix collect_imatrix(Model& model, const at::Tensor& ids, Progress& progress) {
  std::set<const Layer*> all;
  for (const Layer* layer : model.layers()) all.insert(layer);
  Imatrix imatrix;
  imatrix.chunk_count = static_cast<std::uint32_t>(ids.size(0));
  imatrix.chunk_size = static_cast<std::uint32_t>(ids.size(1));
  std::vector<at::Tensor> hidden;
  {
    const DecodedLayers decoded(model.embedding_layers(), at::kFloat);
    for (std::int64_t i = 0; i < ids.size(0); ++i)
      hidden.push_back(model.embed(ids.narrow(0, i, 1).to(model.device()), at::kFloat));
  }
  for (std::size_t block = 0; block < model.block_count(); ++block) {
    progress.report(block, model.block_count(), "blocks");
    const auto layers = model.block_layers(block);
    const DecodedLayers decoded(layers, at::kFloat);
    TapObserver observer(all, {Statistic::kInputNorm});
    for (auto& h : hidden) h = model.run_block(block, h, {{}, nullptr, &observer});
    for (const Layer* layer : layers)
      if (const auto* x = observer.of(*layer))
        imatrix.entries[gguf_name(layer->name() + ".weight")] = entry_of(*x);
  }
  progress.report(model.block_count(), model.block_count(), "blocks");
  return imatrix;
}

}  // namespace wring

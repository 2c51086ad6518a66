// Running blocks over batches of a calibration set.
#include "engine/calibrate/block_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/stored_statistics.h"

namespace wring {

BlockStream::BlockStream(Model& model, const Calibration& calibration)
    : model_(&model), calibration_(&calibration) {
  if (calibration.stored) return;
  const at::Device device = model.device();
  const at::Tensor ids = calibration.ids.to(device),
                   mask = calibration.mask.defined() ? calibration.mask.to(device) : at::Tensor();
  const DecodedLayers decoded(model.embedding_layers(), at::kFloat);
  const std::int64_t step = calibration.sequences_per_batch();
  const at::Tensor hidden = at::empty({ids.size(0), ids.size(1), model.hidden_size()}, device);
  for (std::int64_t start = 0; start < ids.size(0); start += step) {
    const std::int64_t count = std::min(step, ids.size(0) - start);
    Batch batch{hidden.narrow(0, start, count), {}, {}};
    batch.hidden.copy_(model.embed(ids.narrow(0, start, count), at::kFloat));
    if (mask.defined()) {
      batch.mask = mask.narrow(0, start, count);
      batch.rows = at::nonzero(batch.mask.reshape({-1})).reshape({-1});
    }
    batches_.push_back(std::move(batch));
  }
}

BlockStream::BlockStream(const BlockStream& other)
    : model_(other.model_), calibration_(other.calibration_), batches_(other.batches_) {
  for (auto& batch : batches_) batch.hidden = batch.hidden.clone();
}

void BlockStream::observe(std::size_t block, TapObserver& observer) const {
  const DecodedLayers decoded(model_->block_layers(block), calibration_->observe);
  for (const auto& batch : batches_) {
    observer.set_rows(batch.rows);
    model_->run_block(block, batch.hidden, {batch.mask, nullptr, &observer, /*inputs_only=*/true});
  }
}

void BlockStream::advance(std::size_t block) {
  const DecodedLayers decoded(model_->block_layers(block), calibration_->forward);
  for (auto& batch : batches_)
    batch.hidden.copy_(model_->run_block(block, batch.hidden, {batch.mask, nullptr, nullptr}));
}

void BlockStream::observe_and_advance(std::size_t block, TapObserver& observer) {
  if (calibration_->stored) return observer.take(calibration_->stored->block(block));
  const DecodedLayers decoded(model_->block_layers(block), calibration_->forward);
  for (auto& batch : batches_) {
    observer.set_rows(batch.rows);
    batch.hidden.copy_(model_->run_block(block, batch.hidden, {batch.mask, nullptr, &observer}));
  }
}

void BlockStream::observe_head(Layer& head, TapObserver& observer) const {
  if (calibration_->stored) return observer.take(calibration_->stored->head());
  for (const auto& batch : batches_) {
    observer.set_rows(batch.rows);
    const auto normed = model_->final_norm(batch.hidden);
    observer.on_input(head, normed.reshape({-1, normed.size(-1)}));
  }
}

std::vector<NamedTensor> BlockStream::hidden() const {
  std::vector<NamedTensor> tensors;
  for (const auto& batch : batches_) tensors.push_back({std::to_string(tensors.size()), batch.hidden});
  return tensors;
}

void BlockStream::set_hidden(const std::map<std::string, at::Tensor>& hidden) {
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    const auto it = hidden.find(std::to_string(i));
    if (it == hidden.end() || it->second.sizes() != batches_[i].hidden.sizes())
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "hidden states are missing or of another shape");
    batches_[i].hidden.copy_(it->second);
  }
}

}  // namespace wring

// Running blocks over batches of a calibration set.
#include "engine/calibrate/block_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/run/team.h"

namespace wring {

BlockStream::BlockStream(Model& model, const Calibration& calibration)
    : model_(&model), calibration_(&calibration) {
  if (calibration.stored) return;
  const Team& team = calibration.team();
  const at::Device device = model.device();
  const at::Tensor ids = calibration.ids.to(device),
                   mask = calibration.mask.defined() ? calibration.mask.to(device) : at::Tensor();
  const DecodedLayers decoded(model.embedding_layers(), at::kFloat);
  const int count = kParts / team.size();
  for (int part = count * team.rank(); part < count * (team.rank() + 1); ++part)
    parts_.push_back(embed(part, ids, mask));
}

BlockStream::Part BlockStream::embed(int number, const at::Tensor& ids, const at::Tensor& mask) const {
  Part part{number, {}};
  const std::int64_t step = calibration_->sequences_per_batch(), begin = ids.size(0) * number / kParts,
                     end = ids.size(0) * (number + 1) / kParts;
  const at::Tensor hidden = at::empty({end - begin, ids.size(1), model_->hidden_size()}, ids.device());
  for (std::int64_t start = begin; start < end; start += step) {
    const std::int64_t count = std::min(step, end - start);
    Batch batch{hidden.narrow(0, start - begin, count), {}, {}};
    batch.hidden.copy_(model_->embed(ids.narrow(0, start, count), at::kFloat));
    if (mask.defined()) {
      batch.mask = mask.narrow(0, start, count);
      batch.rows = at::nonzero(batch.mask.reshape({-1})).reshape({-1});
    }
    part.batches.push_back(std::move(batch));
  }
  return part;
}

template <typename Parts, typename Show>
void BlockStream::show_all(Parts& parts, TapObserver& observer, const Show& show) const {
  for (auto& part : parts) {
    for (auto& batch : part.batches) {
      observer.set_rows(batch.rows);
      show(batch);
    }
    observer.end_part();
  }
  observer.finish(calibration_->team(), model_->device());
}

BlockStream::BlockStream(const BlockStream& other)
    : model_(other.model_), calibration_(other.calibration_), parts_(other.parts_) {
  for (auto& part : parts_)
    for (auto& batch : part.batches) batch.hidden = batch.hidden.clone();
}

void BlockStream::observe(std::size_t block, TapObserver& observer) const {
  const DecodedLayers decoded(model_->block_layers(block), calibration_->observe);
  show_all(parts_, observer, [&](const Batch& batch) {
    model_->run_block(block, batch.hidden, {batch.mask, nullptr, &observer, /*inputs_only=*/true});
  });
}

void BlockStream::advance(std::size_t block) {
  const DecodedLayers decoded(model_->block_layers(block), calibration_->forward);
  for (auto& part : parts_)
    for (auto& batch : part.batches)
      batch.hidden.copy_(model_->run_block(block, batch.hidden, {batch.mask, nullptr, nullptr}));
}

void BlockStream::observe_and_advance(std::size_t block, TapObserver& observer) {
  if (calibration_->stored) return observer.take(calibration_->stored->block(block));
  const DecodedLayers decoded(model_->block_layers(block), calibration_->forward);
  show_all(parts_, observer, [&](Batch& batch) {
    batch.hidden.copy_(model_->run_block(block, batch.hidden, {batch.mask, nullptr, &observer}));
  });
}

void BlockStream::observe_head(Layer& head, TapObserver& observer) const {
  if (calibration_->stored) return observer.take(calibration_->stored->head());
  show_all(parts_, observer, [&](const Batch& batch) {
    const auto normed = model_->final_norm(batch.hidden);
    observer.on_input(head, normed.reshape({-1, normed.size(-1)}));
  });
}

std::vector<NamedTensor> BlockStream::hidden() const {
  std::vector<NamedTensor> tensors;
  for (const auto& part : parts_)
    for (std::size_t i = 0; i < part.batches.size(); ++i)
      tensors.push_back({part.name(i), part.batches[i].hidden});
  return tensors;
}

std::vector<NamedTensor> BlockStream::gather_hidden() const {
  Team& team = calibration_->team();
  std::vector<NamedTensor> all = hidden();
  if (!team.first()) team.send(0, {Json::object(), all});
  for (int rank = 1; team.first() && rank < team.size(); ++rank)
    for (auto& named : team.receive(rank).tensors) all.push_back(std::move(named));
  return all;
}

void BlockStream::set_hidden(const std::map<std::string, at::Tensor>& hidden) {
  for (auto& part : parts_) {
    for (std::size_t i = 0; i < part.batches.size(); ++i) {
      at::Tensor& mine = part.batches[i].hidden;
      const auto it = hidden.find(part.name(i));
      if (it == hidden.end() || it->second.sizes() != mine.sizes())
        throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "hidden states are missing or of another shape");
      mine.copy_(it->second);
    }
  }
}

}  // namespace wring

// Batches of labelled examples as a network's input: pixels normalised, laid out, and varied for training.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "common/random.h"
#include "engine/data/labelled_data.h"
#include "engine/methods/method.h"

namespace wring {

// What becomes of a value: bytes are divided by 255 first, then (value - mean) / deviation of its channel.
struct Normalisation {
  std::vector<double> mean{0}, deviation{1};  // one, or one a channel
  std::string field;                          // of mean, for messages

  static Normalisation from(const Params& params);  // mean and std
};

// How training images are varied: moved by up to `shift` pixels each way, black where they end, and mirrored
// half of the time.
struct Augmentation {
  std::int64_t shift = 0;
  bool mirror = false;

  static Augmentation from(const Params& params);  // shift and mirror
};

// Immutable.
class Batches {
 public:
  // `sizes`: of the network's input without the batch, -1 where they are free. Images become [channels,
  // height, width], or [height, width, channels] where only that fits; all else is reshaped where it has as
  // many values. Throws Error(kInvalidArgument, "SHAPE_MISMATCH") naming `name` or the normalisation's field.
  Batches(LabelledData data, Normalisation normalisation, std::vector<std::int64_t> sizes,
          const std::string& name);

  std::int64_t count() const { return data_.count(); }
  at::Tensor labels(const at::Tensor& examples) const { return data_.labels.index_select(0, examples); }
  std::int64_t highest_label() const;
  const std::vector<std::string>& classes() const { return data_.classes; }

  // fp32 [n, ...] of examples int64 [n].
  at::Tensor inputs(const at::Tensor& examples) const;
  // The same, varied; draws in the order of the examples.
  at::Tensor varied_inputs(const at::Tensor& examples, const Augmentation& augmentation, Random random) const;

 private:
  at::Tensor laid_out(const at::Tensor& values) const;
  void check(const std::string& name);
  void check_channels() const;

  LabelledData data_;
  Normalisation normalisation_;
  std::vector<std::int64_t> sizes_;
  bool channels_last_ = false;
};

}  // namespace wring

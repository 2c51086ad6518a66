// The probes of an estimate, and how they are scaled up.
#include "engine/calibrate/estimate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "common/clock.h"
#include "engine/calibrate/tap_observer.h"
#include "engine/methods/search/searching_method.h"
#include "engine/run/hardware.h"
#include "engine/train/losses.h"
#include "engine/train/trainer.h"

namespace wring {
namespace {

constexpr double kWholeWeights = 12e6;       // a layer of more is probed by some of its rows:
constexpr std::int64_t kProbedRows = 16384;  // so many, and half of them

double weights_of(const Layer& layer) {
  return static_cast<double>(layer.weight().rows()) * static_cast<double>(layer.weight().columns());
}

// The layer, or its first rows, in the source's own type where it is plain; else in one that is no float32,
// which decoding would hand out without a copy.
Layer first_rows(const Layer& layer, std::int64_t rows) {
  const WeightRep& rep = layer.weight();
  const auto dtype = rep.format() == "dense" ? rep.tensors().front().tensor.scalar_type() : at::kHalf;
  const auto op = layer.class_name() == "Embedding" ? Layer::Operator::kEmbedding : Layer::Operator::kLinear;
  auto weight =
      rows == rep.rows() ? layer.shared_weight() : dense_rep(rep.decode_rows(at::arange(rows), dtype));
  return {layer.name(), op, std::move(weight), {}, layer.axes(), layer.input_tap()};
}

// Starts a measurement of resident memory: what lies free is given back, and the peak is what is there now.
std::uint64_t settle() {
  release_free_memory();
  reset_peak_resident_bytes();
  return resident_bytes();
}

// What compressing a layer took.
struct Sample {
  double seconds, stored_bytes;
  double weights, weights_kept;  // before, and after
  double resident, working;      // memory before it, and highest above that
};

class Probe {
 public:
  Probe(Model& model, const Method& method, const std::set<const Layer*>& targets,
        const Calibration& calibration, bool gathered, int processes)
      : model_(model),
        method_(method),
        targets_(targets),
        calibration_(calibration),
        gathered_(gathered),
        processes_(processes),
        resident_(static_cast<double>(settle())) {}

  StageEstimate data_free() {
    std::map<std::pair<std::int64_t, std::int64_t>, Sample> samples;
    for (Layer* layer : model_.layers()) {
      if (!targets_.contains(layer)) continue;
      const auto shape = std::pair(layer->weight().rows(), layer->weight().columns());
      auto known = samples.find(shape);
      if (known == samples.end()) known = samples.emplace(shape, whole(*layer, nullptr)).first;
      // One layer after the other, each with those before it as they are stored now.
      peak_ = std::max(peak_, known->second.working + stored_bytes_);
      count(known->second, 1);
    }
    return result(0);
  }

  // A block and the head with their gradients, in proportion; what the optimiser holds by counting.
  StageEstimate training() {
    const TrainingSize size = *method_.training();
    const StageEstimate stored = data_free();
    seconds_ = peak_ = 0;
    const double sequences = static_cast<double>(std::max<std::int64_t>(
                     1, std::min(training_tokens_at_once(model_.device()) / calibration_.ids.size(1),
                                 size.batch))),
                 times = static_cast<double>(size.steps * size.batch) / (sequences * processes_);
    const at::Tensor ids = at::zeros({static_cast<std::int64_t>(sequences), calibration_.ids.size(1)},
                                     at::TensorOptions(at::kLong).device(model_.device()));
    const Gradient block = gradient_of_block(ids), head = gradient_of_head(ids);
    const auto blocks = static_cast<double>(model_.block_count());
    // A teacher runs forward, a third of a step.
    const double passes = method_.needs_reference() ? 4.0 / 3 : 1;
    seconds_ = times * passes * (blocks * block.seconds + head.seconds);
    const double waiting = blocks * block.kept, most = std::max(block.peak, head.peak * passes);
    StageEstimate estimate =
        result(trained_bytes(size.rank) + waiting + most + static_cast<double>(stored.stored_bytes));
    estimate.stored_bytes = stored.stored_bytes;
    estimate.adds = false;
    return estimate;
  }

  StageEstimate calibrated() {
    std::size_t observed = 0;
    double all = 0, same = 0;  // weights of targeted blocks; of the one that is probed
    for (std::size_t block = 0; block < model_.block_count(); ++block) {
      if (!targeted(model_.block_layers(block))) continue;
      if (all == 0) observed = block;
      for (Layer* layer : model_.block_layers(block)) {
        all += weights_of(*layer);
        if (block == observed) same += weights_of(*layer);
      }
    }
    hidden_ = at::randn({batch_sequences(), calibration_.ids.size(1), model_.hidden_size()}, model_.device());
    resident_ = static_cast<double>(settle());
    if (same > 0) this->block(observed, all / same);
    forward(observed, same > 0 ? all / same : 0);
    if (targeted(model_.head_layers())) head();
    if (SearchingMethod::tokens_of(method_) > 0) search(observed);
    const double hidden = gathered_ ? 0 : static_cast<double>(hidden_.nbytes()) * batches();
    // What is cut is chosen over all blocks, and cut when their hidden states are gone.
    if (weights_kept_ < weights_)
      peak_ = std::max(hidden + pass_peak_, stored_bytes_ + layer_peak_);
    else
      peak_ = hidden + stored_bytes_ + std::max(pass_peak_, pass_layer_peak_);
    peak_ = std::max(peak_, processes_ * hidden + stored_bytes_);  // the first one gathers all for a snapshot
    return result(0);
  }

 private:
  StageEstimate result(double hidden) const {
    return {seconds_,
            static_cast<std::uint64_t>(hidden + peak_),
            static_cast<std::uint64_t>(stored_bytes_),
            weights_ > 0 ? weights_kept_ / weights_ : 1,
            method_.needs_reference(),
            method_.reads_data(),
            processes_};
  }

  bool targeted(const std::vector<Layer*>& layers) const {
    return std::any_of(layers.begin(), layers.end(), [&](Layer* l) { return targets_.contains(l); });
  }
  bool dense() const { return calibration_.propagate == Propagate::kDense; }
  at::ScalarType observed_in() const { return dense() ? calibration_.forward : calibration_.observe; }

  std::int64_t batch_sequences() const {
    const std::int64_t part = (calibration_.ids.size(0) + kParts - 1) / kParts;
    return std::min(calibration_.sequences_per_batch(), part);
  }
  // Of one process.
  double batches() const {
    return static_cast<double>(calibration_.ids.size(0)) /
           static_cast<double>(batch_sequences() * processes_);
  }

  // Sums of parts that wait for others (PartTree): at most three beside those that are gathered.
  double waiting_bytes(const TapObserver& observer) const {
    std::uint64_t bytes = 0;
    for (const auto& [tap, statistics] : observer.by_tap())
      bytes += 3 * bytes_of_sums(static_cast<std::uint64_t>(statistics->features()), method_.needs());
    return static_cast<double>(bytes);
  }

  struct Gradient {
    double seconds, kept, peak;  // bytes that wait for the backward pass; highest of both passes beside them
  };

  template <typename Forward>
  Gradient gradient_of(const at::Tensor& x, const Forward& forward) const {
    Gradient found{};
    for (int turn = 0; turn < 2; ++turn) {  // the first time pays for what later ones find ready
      const at::Tensor leaf = x.detach().clone().requires_grad_(true);
      const auto before = static_cast<double>(settle());
      const Stopwatch watch;
      const at::Tensor loss = forward(leaf);
      const auto after = static_cast<double>(resident_bytes());
      loss.backward();
      found = {watch.seconds(), std::max(0.0, after - before),
               std::max(0.0, static_cast<double>(peak_resident_bytes()) - after)};
    }
    return found;
  }

  at::Tensor random_hidden(const at::Tensor& ids) const {
    return at::randn({ids.size(0), ids.size(1), model_.hidden_size()}, model_.device());
  }

  Gradient gradient_of_block(const at::Tensor& ids) {
    const auto layers = model_.block_layers(0);
    const DecodedLayers decoded(layers, calibration_.forward);
    for (Layer* layer : layers)
      if (targets_.contains(layer)) layer->stand_in(trained_leaf(*layer).to(calibration_.forward));
    const Gradient found = gradient_of(random_hidden(ids),
                                       [&](const at::Tensor& x) { return model_.run_block(0, x, {}).sum(); });
    for (Layer* layer : layers) layer->release();
    return found;
  }

  at::Tensor trained_leaf(const Layer& layer) const {
    return layer.weight().decode(at::kFloat).to(model_.device()).clone().requires_grad_(true);
  }

  Gradient gradient_of_head(const at::Tensor& ids) {
    const DecodedLayers decoded(model_.head_layers(), calibration_.forward);
    return gradient_of(random_hidden(ids), [&](const at::Tensor& x) {
      return next_token_loss(model_.head(model_.final_norm(x)), ids);
    });
  }

  // Decoded weights of this model and its teacher; of what is trained its start, values, gradients and
  // moments.
  double trained_bytes(std::int64_t rank) const {
    double all = 0, whole = 0, adapters = 0;
    for (const Layer* layer : std::as_const(model_).layers()) {
      all += weights_of(*layer);
      if (!targets_.contains(layer)) continue;
      whole += weights_of(*layer);
      adapters += static_cast<double>(rank * (layer->weight().rows() + layer->weight().columns()));
    }
    const double width = static_cast<double>(at::elementSize(calibration_.forward)),
                 decoded = width * all * (method_.needs_reference() ? 2 : 1);
    const double trained = rank > 0 ? 2 * whole + 4 * adapters : 5 * whole;
    return decoded + sizeof(float) * trained;
  }

  // The block as it is observed, then its layers; there are `times` blocks of its size.
  void block(std::size_t block, double times) {
    const auto layers = model_.block_layers(block);
    TapObserver observer(targets_, method_.needs());
    {
      const Stopwatch decoding;
      const DecodedLayers decoded(layers, observed_in());
      const double decoded_in = decoding.seconds();
      const auto observe = [&] { model_.run_block(block, hidden_, {{}, nullptr, &observer, !dense()}); };
      if (gathered_)
        observe();
      else
        seconds_ += times * (decoded_in + batches() * second_time(observe));
    }
    if (!gathered_) note_pass(waiting_bytes(observer));
    for (Layer* layer : layers)
      if (targets_.contains(layer)) add(whole(*layer, observer.of(*layer)), times);
  }

  // The outputs of those blocks that are run for them alone.
  void forward(std::size_t block, double observed_blocks) {
    const double times = static_cast<double>(last_block()) - (dense() ? observed_blocks : 0);
    if (times <= 0 || gathered_) return;
    settle();
    const Stopwatch decoding;
    const DecodedLayers decoded(model_.block_layers(block), calibration_.forward);
    seconds_ += times * decoding.seconds();
    seconds_ += times * batches() * second_time([&] {
                  model_.run_block(block, hidden_, {{}, nullptr, nullptr});
                });
    note_pass();
  }

  void head() {
    TapObserver observer(targets_, method_.needs());
    for (Layer* layer : model_.head_layers()) {
      const double seconds = second_time([&] {
        const auto normed = model_.final_norm(hidden_);
        observer.on_input(*layer, normed.reshape({-1, normed.size(-1)}));
      });
      if (!gathered_) {
        seconds_ += batches() * seconds;
        note_pass();
      }
      if (targets_.contains(layer)) add(whole(*layer, observer.of(*layer)), 1);
    }
  }

  // Candidates through all blocks, as if they shared nothing, and the head.
  void search(std::size_t block) {
    constexpr std::int64_t kRows = 128;
    settle();
    const DecodedLayers decoded(model_.block_layers(block), calibration_.forward),
        head(model_.head_layers(), at::kFloat);
    const at::Tensor all = hidden_.flatten(0, 1), some = all.narrow(0, 0, std::min(kRows, all.size(0)));
    const double in_block = second_time([&] { model_.run_block(block, hidden_, {}); }),
                 in_head = second_time([&] { model_.head(model_.final_norm(some)).log_softmax(-1); });
    seconds_ += static_cast<double>(SearchingMethod::tokens_of(method_)) *
                (static_cast<double>(model_.block_count()) * in_block / static_cast<double>(all.size(0)) +
                 in_head / static_cast<double>(some.size(0)));
    note_pass();
  }

  // The first time pays for what later ones find ready.
  template <typename Action>
  static double second_time(const Action& action) {
    action();
    const Stopwatch watch;
    action();
    return watch.seconds();
  }

  // One past the last block that the pass runs.
  std::size_t last_block() const {
    if (targeted(model_.head_layers())) return model_.block_count();
    std::size_t last = 0;
    for (std::size_t block = 0; block < model_.block_count(); ++block)
      if (targeted(model_.block_layers(block))) last = block + 1;
    return last;
  }

  void count(const Sample& sample, double times) {
    seconds_ += times * sample.seconds / processes_;
    stored_bytes_ += times * sample.stored_bytes;
    weights_ += times * sample.weights;
    weights_kept_ += times * sample.weights_kept;
  }

  // Of a calibration pass, whose peak is that of its last block: all new weights are there by then, this one
  // among them.
  void add(const Sample& sample, double times) {
    count(sample, times);
    const double working = sample.working - sample.stored_bytes;
    layer_peak_ = std::max(layer_peak_, working);
    pass_layer_peak_ = std::max(pass_layer_peak_, sample.resident + working - resident_);
  }

  void note_pass(double beside = 0) {
    pass_peak_ = std::max(pass_peak_, static_cast<double>(peak_resident_bytes()) + beside - resident_);
  }

  // Of the whole layer, from two samples of its rows where it is large.
  Sample whole(const Layer& layer, const Statistics* x) const {
    const auto rows = layer.weight().rows();
    if (weights_of(layer) <= kWholeWeights || rows <= kProbedRows) return compress(layer, x, rows);
    const auto before = static_cast<double>(settle());
    const Sample first = compress(layer, x, kProbedRows / 2);  // makes ready what the tap's layers share
    const Sample low = compress(layer, x, kProbedRows / 2), high = compress(layer, x, kProbedRows);
    const double size = static_cast<double>(rows) / kProbedRows;
    const auto line = [&](double a, double b) { return b + std::max(0.0, b - a) * 2 * (size - 1); };
    // Memory in proportion, 5 to 11 % high: a line through samples that find the heap full of the holes of
    // those before them is too low.
    const double working = std::max(first.working, high.working * size);
    return {line(low.seconds, high.seconds) + std::max(0.0, first.seconds - low.seconds),
            line(low.stored_bytes, high.stored_bytes), line(low.weights, high.weights),
            line(low.weights_kept, high.weights_kept), before,
            // The samples are copies; the layer itself is read where its file is mapped.
            working + static_cast<double>(layer.weight().stored_bytes())};
  }

  Sample compress(const Layer& layer, const Statistics* x, std::int64_t rows) const {
    Layer sample = first_rows(layer, rows);
    const double weights = weights_of(sample);
    const auto before = static_cast<double>(settle());
    const Stopwatch watch;
    const auto kept = method_.needs_reference() ? sample.weight().stored_bytes() : 0;
    method_.try_out(sample, x);
    return {watch.seconds(), static_cast<double>(sample.weight().stored_bytes() - kept),
            weights,         weights_of(sample),
            before,          static_cast<double>(peak_resident_bytes()) - before};
  }

  Model& model_;
  const Method& method_;
  const std::set<const Layer*>& targets_;
  const Calibration& calibration_;
  bool gathered_;      // observing is not counted
  int processes_;      // that share batches and layers
  at::Tensor hidden_;  // of one batch
  double resident_;    // before the probes
  double seconds_ = 0, stored_bytes_ = 0, peak_ = 0;
  double pass_peak_ = 0;                   // beside the hidden states and the new weights: of running blocks,
  double pass_layer_peak_ = 0;             // of compressing a layer while its statistics are there,
  double layer_peak_ = 0;                  // and alone
  double weights_ = 0, weights_kept_ = 0;  // of the layers tried out, and after it
};

}  // namespace

StageEstimate estimate_stage(Model& model, const Method& method, const std::set<const Layer*>& targets,
                             const Calibration& calibration, bool gathered, int processes) {
  Probe probe(model, method, targets, calibration, gathered, processes);
  if (method.training()) return probe.training();
  return method.reads_data() ? probe.calibrated() : probe.data_free();
}

}  // namespace wring

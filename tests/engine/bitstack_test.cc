// BitStack: levels against a textbook decomposition, their bits by hand, the order of the stack by brute
// force, and what fits into a size.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/export/exporter.h"
#include "engine/methods/quantize/level_stack.h"
#include "engine/model/load.h"
#include "engine/model/residual_rep.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

constexpr std::int64_t kKvHeads = 2, kSequences = 6, kLength = 48, kOrderSamples = 2;

at::Tensor half(std::vector<float> values, at::IntArrayRef shape) {
  return at::tensor(values).reshape(shape).to(at::kHalf);
}

std::shared_ptr<const WeightRep> random_residual(std::int64_t levels, std::int64_t rows, std::int64_t columns,
                                                 std::int64_t rank) {
  return residual_rep({at::rand({levels, rows, columns}) < 0.5, at::randn({levels, rows, rank}).to(at::kHalf),
                       at::randn({levels, rank, columns}).to(at::kHalf)});
}

std::shared_ptr<const WeightRep> stored_and_loaded(const WeightRep& rep) {
  std::map<std::string, at::Tensor> table;
  for (const auto& named : rep.tensors()) table[named.suffix] = named.tensor.clone();
  return load_weight_rep("layer", std::string(rep.format()), rep.attributes(),
                         [&](const std::string& suffix) { return table.at(suffix); });
}

TEST(ResidualRep, IsTheSumOfSignedProductsWithABitForEachSign) {
  at::Tensor negative = at::zeros({2, 2, 10}, at::kBool);
  negative[0][0][1] = negative[0][0][9] = negative[1][1][0] = true;
  const auto rep = stored_and_loaded(
      *residual_rep({negative, half({2, 3, 0.5, 1}, {2, 2, 1}),
                     at::cat({at::ones({1, 1, 10}), at::full({1, 1, 10}, 4)}).to(at::kHalf)}));
  at::Tensor expected = at::cat({at::full({1, 10}, 4.0), at::full({1, 10}, 7.0)});
  expected[0][1] = expected[0][9] = 0;  // -2 + 0.5 * 4
  expected[1][0] = -1;                  // 3 - 4
  EXPECT_TRUE(at::equal(rep->decode(at::kFloat), expected)) << rep->decode(at::kFloat);
  EXPECT_TRUE(at::equal(rep->decode_rows(at::tensor({1}, at::kLong), at::kFloat), expected.narrow(0, 1, 1)));
  const at::Tensor signs = rep->tensors()[0].tensor;
  EXPECT_TRUE(at::equal(signs, at::tensor({2, 2, 0, 0, 0, 0, 1, 0}, at::kByte).reshape({2, 2, 2}))) << signs;
  EXPECT_EQ(rep->stored_bytes(), 8u + 2 * 4u + 2 * 20u);
  const auto first = stored_and_loaded(*first_levels(*rep, 1));
  EXPECT_EQ(first->decode(at::kFloat)[0][1].item<double>(), -2);
  EXPECT_EQ(first->stored_bytes(), rep->stored_bytes() / 2);
}

TEST(ResidualRep, MultipliesAsItsDecodedWeightDoes) {
  at::manual_seed(1);
  for (const std::int64_t columns : {5, 16, 40, 77, 256, 300})
    for (const std::int64_t rank : {1, 2, 3, 4, 7}) {
      const auto rep = random_residual(3, 24, columns, rank);
      const at::Tensor weight = rep->decode(at::kFloat);
      const auto tensors = rep->tensors();
      EXPECT_LT((decode_levels(tensors[0].tensor, tensors[1].tensor, tensors[2].tensor) - weight)
                    .abs()
                    .max()
                    .item<double>(),
                1e-5);
      const at::Tensor x = at::randn({3, columns});
      const at::Tensor y = rep->multiply(x), expected = at::mm(x.to(at::kDouble), weight.t().to(at::kDouble));
      ASSERT_TRUE(y.defined());
      EXPECT_LT((y - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>())
          << columns << ", rank " << rank;
    }
  EXPECT_FALSE(
      random_residual(1, 12, 8, 1)->multiply(at::ones({1, 8})).defined());  // rows are taken by eight
}

TEST(ResidualRep, RefusesWhatDoesNotFitTogether) {
  const auto rep = random_residual(2, 4, 10, 1);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& named : rep->tensors()) tensors[named.suffix] = named.tensor;
  const auto complaint = [&](const Json& order, const std::string& suffix, const at::Tensor& other) {
    try {
      load_weight_rep("blocks.3.up", "residual", {{"order", order}},
                      [&](const std::string& name) { return name == suffix ? other : tensors.at(name); });
    } catch (const Error& e) {
      EXPECT_EQ(e.reason(), "BAD_WEIGHT_REP");
      EXPECT_EQ(e.field(), "blocks.3.up");
      return e.message();
    }
    return std::string();
  };
  EXPECT_EQ(complaint({0, 5}, "", {}), "");
  for (const Json& order : {Json{0}, Json{0, 0}, Json{5, 1}, Json{-1, 0}, Json("x")})
    EXPECT_NE(complaint(order, "", {}), "") << order;
  at::Tensor stray = tensors.at("signs").clone();
  stray[1][3][1] = 4;  // the bit of column 10
  EXPECT_NE(complaint({0, 1}, "signs", stray).find("past the last column"), std::string::npos);
  EXPECT_NE(complaint({0, 1}, "signs", stray.narrow(2, 0, 1)), "");
  EXPECT_NE(complaint({0, 1}, "u", tensors.at("u") / 0), "");
  EXPECT_NE(complaint({0, 1}, "u", tensors.at("u").to(at::kFloat)), "");
  EXPECT_NE(complaint({0, 1}, "v", tensors.at("v").narrow(0, 0, 1)), "");
  EXPECT_THROW(first_levels(*rep, 0), Error);
  EXPECT_THROW(first_levels(*rep, 3), Error);
}

Calibration calibration() {
  at::manual_seed(11);
  return {at::randint(small_model::kVocabulary, {kSequences, kLength}, at::kLong), {}, Propagate::kDense};
}

std::unique_ptr<Model> uneven_model() {
  auto model = small_model::make(kKvHeads);
  at::manual_seed(3);
  for (auto& parameter : model->parameters())
    parameter.value = parameter.value * at::exp(at::randn(parameter.value.sizes()));
  return model;
}

Json params_of(std::int64_t levels, std::int64_t rank, bool scaling, const char* order = "residual") {
  return {{"levels", levels},
          {"rank", rank},
          {"scaling", scaling},
          {"order", order},
          {"order_samples", kOrderSamples}};
}

std::vector<Json> run(Model& model, const char* name, const Json& params, Progress& progress,
                      Snapshot snapshot) {
  const auto method = make_method(name, Params(params, "stages[0].params"));
  const auto targets = small_model::linear_layers(model, false);
  method->check_model(model, targets);
  const auto text = calibration();
  return method->run({model, targets, text, progress, snapshot}).at("layers").get<std::vector<Json>>();
}

std::vector<Json> run(Model& model, const char* name, const Json& params) {
  NoProgress quiet;
  return run(model, name, params, quiet, Snapshot());
}

// The card's steps with a full SVD of |R| at every level, factors rounded to fp16.
TEST(BitStack, DecomposesAsATextbookDoes) {
  const auto model = uneven_model(), original = uneven_model();
  Layer& zeros = *model->find_layer("model.layers.2.mlp.down_proj");
  zeros.set_weight(dense_rep(at::zeros({small_model::kHidden, small_model::kFfn})));
  const auto reports = run(*model, "bitstack", params_of(4, 2, false));
  EXPECT_EQ(reports.size(), small_model::kBlocks * 7u);
  for (const auto& report : reports) {
    const auto name = report.at("layer").get<std::string>();
    if (name == zeros.name()) continue;
    const at::Tensor weight = original->find_layer(name)->weight().decode(at::kDouble);
    at::Tensor left = weight;
    for (int level = 0; level < 4; ++level) {
      const auto [u, s, vt] = at::linalg_svd(left.abs(), false);
      const at::Tensor root = s.narrow(0, 0, 2).sqrt();
      const at::Tensor size = at::mm((u.narrow(1, 0, 2) * root).to(at::kHalf).to(at::kDouble),
                                     (root.unsqueeze(1) * vt.narrow(0, 0, 2)).to(at::kHalf).to(at::kDouble));
      left = left - at::where(left < 0, -size, size);
      const double share = (left.square().sum() / weight.square().sum()).item<double>();
      EXPECT_NEAR(report.at("errors")[static_cast<std::size_t>(level)].get<double>(), share, 2e-3 * share)
          << name << ", level " << level;
      EXPECT_LT(share, level == 0 ? 0.5 : 0.5 * std::pow(0.6, level)) << name;
    }
    const at::Tensor held = model->find_layer(name)->weight().decode(at::kDouble);
    EXPECT_LT((weight - held - left).norm().item<double>(), 2e-2 * left.norm().item<double>()) << name;
  }
  EXPECT_EQ(zeros.weight().decode(at::kFloat).abs().max().item<double>(), 0);
  EXPECT_FALSE(zeros.weight().tensors()[0].tensor.any().item<bool>());  // sign(0) = 1
}

TEST(BitStack, ScalesChannelsWithoutChangingTheFunction) {
  const auto model = uneven_model();
  const at::Tensor ids = calibration().ids, before = model->forward(ids);
  const at::Tensor gain = model->parameters().front().value.clone();
  run(*model, "bitstack", params_of(14, 8, true));
  EXPECT_GT((model->parameters().front().value - gain).abs().max().item<double>(), 0.1);
  EXPECT_LT(((model->forward(ids) - before).norm() / before.norm()).item<double>(), 2e-3);
}

// Root mean square of what the first norm makes, plus 1e-3.
TEST(BitStack, ScalesByTheInputsSize) {
  const auto model = uneven_model(), original = uneven_model();
  run(*model, "bitstack", params_of(14, 8, true));
  const at::Tensor hidden = original->embed(calibration().ids, at::kFloat).to(at::kDouble).flatten(0, 1);
  const at::Tensor gain = original->parameters().front().value.to(at::kDouble);
  const at::Tensor x = hidden / (hidden.square().mean(1, true) + 1e-6).sqrt() * gain;
  const at::Tensor scale = x.square().mean(0).sqrt() + 1e-3;
  const at::Tensor expected = gain / scale, found = model->parameters().front().value.to(at::kDouble);
  EXPECT_LT(((found - expected) / expected).abs().max().item<double>(), 1e-4);
}

double loss_of(const Model& model, const at::Tensor& ids) {
  const at::Tensor log_p = at::log_softmax(model.forward(ids).to(at::kDouble), -1);
  return -log_p.narrow(1, 0, ids.size(1) - 1)
              .gather(-1, ids.narrow(1, 1, ids.size(1) - 1).unsqueeze(-1))
              .mean()
              .item<double>();
}

TEST(BitStack, PutsALevelFirstWhereThePerplexityWithItAloneIsLeast) {
  constexpr std::int64_t kLevels = 3;
  const auto model = uneven_model();
  run(*model, "bitstack", params_of(kLevels, 1, true, "perplexity"));
  const at::Tensor ids = calibration().ids.narrow(0, kSequences - kOrderSamples, kOrderSamples);
  const auto stack = level_stack(*model);
  const std::size_t layers = small_model::kBlocks * 7;
  ASSERT_EQ(stack.size(), layers * kLevels);
  std::map<Layer*, std::shared_ptr<const WeightRep>> whole;
  for (const auto& entry : stack) whole[entry.layer] = entry.layer->shared_weight();
  for (std::int64_t level = 1; level < kLevels; ++level) {
    for (const auto& [layer, weight] : whole) layer->set_weight(first_levels(*weight, level));
    double last = 0;
    for (std::size_t i = 0; i < layers; ++i) {
      const auto& entry = stack[static_cast<std::size_t>(level) * layers + i];
      ASSERT_EQ(entry.level, level);
      entry.layer->set_weight(first_levels(*whole.at(entry.layer), level + 1));
      const double loss = loss_of(*model, ids);
      entry.layer->set_weight(first_levels(*whole.at(entry.layer), level));
      EXPECT_GT(loss, last - 1e-5) << entry.layer->name();
      last = loss;
    }
  }
}

// Says which levels are ordered, and breaks off before one.
class Ordering final : public Progress {
 public:
  explicit Ordering(std::uint64_t last) : last_(last) {}
  void report(std::uint64_t done, std::uint64_t, const std::string& unit, const std::string&,
              double) override {
    if (unit != "levels ordered") return;
    if (done == last_) throw Error(ErrorCode::kCancelled, "CANCELLED", "killed");
    ordered.push_back(done);
  }
  std::vector<std::uint64_t> ordered;

 private:
  std::uint64_t last_;
};

TEST(BitStack, GoesOnAfterTheLevelsThatWereOrderedBeforeAKill) {
  constexpr std::int64_t kLevels = 4;
  const Json params = params_of(kLevels, 1, true, "perplexity");
  const auto whole = uneven_model(), again = uneven_model();
  run(*whole, "bitstack", params);
  const TempDir folder;
  for (std::uint64_t killed = 1; killed < kLevels - 1; ++killed) {
    Ordering broken(killed);
    EXPECT_THROW(run(*uneven_model(), "bitstack", params, broken, Snapshot(folder.path())), Error);
    EXPECT_EQ(broken.ordered, (std::vector<std::uint64_t>{killed - 1}));
  }
  Ordering last(kLevels);
  run(*again, "bitstack", params, last, Snapshot(folder.path()));
  EXPECT_EQ(last.ordered, (std::vector<std::uint64_t>{kLevels - 2}));
  const auto stack = level_stack(*whole), same = level_stack(*again);
  ASSERT_EQ(same.size(), stack.size());
  for (std::size_t i = 0; i < stack.size(); ++i) {
    EXPECT_EQ(same[i].layer->name(), stack[i].layer->name()) << i;
    EXPECT_EQ(same[i].level, stack[i].level) << i;
  }
  for (const auto& [name, weight] : small_model::copy_weights(*whole))
    EXPECT_TRUE(at::equal(small_model::copy_weights(*again).at(name), weight)) << name;
}

TEST(FitSize, KeepsTheLongestBeginningOfTheStackThatFits) {
  const auto model = uneven_model();
  run(*model, "bitstack", params_of(3, 2, false));
  const auto stack = level_stack(*model);
  const std::uint64_t all = model->stored_bytes();
  std::uint64_t least = all;
  std::map<Layer*, std::shared_ptr<const WeightRep>> whole;
  for (const auto& entry : stack) {
    whole[entry.layer] = entry.layer->shared_weight();
    if (entry.level > 0) least -= entry.bytes;
  }
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i <= 37; ++i) {
    const std::uint64_t size = least + (all - least) * i / 37;
    for (const auto& [layer, weight] : whole) layer->set_weight(weight);
    fit_levels(*model, size, "to.size");
    EXPECT_LE(model->stored_bytes(), size);
    EXPECT_GE(model->stored_bytes(), last);
    last = model->stored_bytes();
    const auto kept = level_stack(*model);
    for (std::size_t k = 0; k < kept.size(); ++k) {
      EXPECT_EQ(kept[k].layer, stack[k].layer);
      EXPECT_EQ(kept[k].level, stack[k].level);
    }
    if (kept.size() < stack.size()) {
      EXPECT_GT(last + stack[kept.size()].bytes, size);
    }
  }
  EXPECT_EQ(last, all);
}

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kInternal, "NOTHING", "was not refused"};
}

TEST(FitSize, SaysTheLeastThatThereIsAndWhatIsMissing) {
  const auto model = uneven_model();
  const Error none = error_of([&] { fit_levels(*model, 1 << 30, "to.size"); });
  EXPECT_EQ(none.reason(), "NO_LEVELS");
  EXPECT_EQ(none.field(), "to.size");
  run(*model, "bitstack", params_of(2, 1, false));
  const Error small = error_of([&] { fit_levels(*model, 1000, "to.size"); });
  EXPECT_EQ(small.reason(), "SIZE_TOO_SMALL");
  EXPECT_EQ(small.field(), "to.size");
  EXPECT_NE(small.hint().find("rtn(bits=8, targets=Embedding)"), std::string::npos);
  const auto number = small.message().find("the least is ");
  ASSERT_NE(number, std::string::npos);
  const auto least = std::stoull(small.message().substr(number + 13));
  EXPECT_EQ(error_of([&] { fit_levels(*model, least - 1, "to.size"); }).reason(), "SIZE_TOO_SMALL");
  fit_levels(*model, least, "to.size");
  EXPECT_EQ(model->stored_bytes(), least);
}

TEST(WringExport, HoldsTheLevelsThatTheFilesHaveRoomFor) {
  const auto model = uneven_model();
  run(*model, "bitstack", params_of(4, 2, true));
  const std::uint64_t size = model->stored_bytes() * 4 / 5 + 12'000;  // a header of some 8 kB
  const TempDir folder;
  Claims claims;
  find_exporter("wring")({*model, FileTree(), Params({{"size", size}}, "to"), "model", folder.path()},
                         claims);
  const auto bytes = std::filesystem::file_size(folder.path() / "model.safetensors");
  EXPECT_LE(bytes, size);
  EXPECT_GT(bytes, size - 16'000);
  const auto back = load_model(FileTree::on_disk(folder.path()));
  const auto kept = level_stack(*back), stack = level_stack(*model);
  EXPECT_LT(kept.size(), stack.size());
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].layer->name(), stack[i].layer->name());
  fit_levels(*model, back->stored_bytes(), "to");
  const at::Tensor ids = calibration().ids;
  EXPECT_TRUE(at::equal(back->forward(ids), model->forward(ids)));
}

TEST(FitSize, LeavesALayersRoundingOfItsInputsAsItIs) {
  const auto model = uneven_model();
  Layer& layer = *model->find_layer("model.layers.1.mlp.up_proj");
  layer.set_weight(rounded_input_rep(layer.shared_weight(), {InputType::kInt8, -1}));
  run(*model, "bitstack", params_of(3, 2, false, "perplexity"));
  EXPECT_EQ(level_order(layer.weight()).size(), 3u);
  EXPECT_THROW(fit_levels(*model, 1, "size"), Error);
  fit_levels(*model, model->stored_bytes() * 3 / 4, "size");
  EXPECT_LT(level_order(layer.weight()).size(), 3u);
  EXPECT_EQ(input_rounding(layer.weight()), (InputRounding{InputType::kInt8, -1}));
}

TEST(BitStack, NamesTheParameterOfARankThatALayerDoesNotHave) {
  const auto model = uneven_model();
  const Error error = error_of([&] { run(*model, "bitstack", params_of(2, 17, true)); });
  EXPECT_EQ(error.reason(), "RANK");
  EXPECT_EQ(error.field(), "stages[0].params.rank");
}

TEST(BitStack, RefusesFactorsBeyondFloat16) {
  const auto model = uneven_model();
  Layer& layer = *model->find_layer("model.layers.0.mlp.down_proj");
  layer.set_weight(dense_rep(layer.weight().decode(at::kFloat) * 1e13));
  const Error error = error_of([&] { run(*model, "bitstack", params_of(2, 1, false)); });
  EXPECT_EQ(error.reason(), "FACTOR_RANGE");
  EXPECT_EQ(error.field(), layer.name());
}

}  // namespace
}  // namespace wring

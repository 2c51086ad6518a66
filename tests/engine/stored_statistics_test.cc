// Statistics gathered once and read from disk: the same bits as gathered on the way, whenever it was killed.
#include "engine/calibrate/stored_statistics.h"

#include <gtest/gtest.h>

#include <fstream>

#include "common/error.h"
#include "common/files.h"
#include "engine/calibrate/calibrate.h"
#include "engine/methods/search/searching_method.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/killer.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using small_model::kBlocks, small_model::kVocabulary;

at::Tensor tokens() {
  at::manual_seed(11);
  return at::randint(kVocabulary, {6, 48}, at::kLong);
}

// What gathering leaves in FOLDER/out, with its snapshot in FOLDER/snapshot. Returns its report.
Json gather(const fs::path& folder, const std::set<Statistic>& which, Progress& progress) {
  const auto model = small_model::make();
  const auto targets = statistics_targets(*model);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  Snapshot snapshot(folder / "snapshot");
  return gather_statistics(which, folder / "out")->run({*model, targets, calibration, progress, snapshot});
}

struct Result {
  Json report;
  std::map<std::string, at::Tensor> weights;
};

// On layers of 32 and 64 inputs.
std::string recipe_of(const MethodSpec& spec) {
  if (spec.name == "mixed-levels") return "mixed-levels(levels='gptq(group_size=16, ignore=[])')";
  if (spec.name == "evopress")
    return "evopress(levels='gptq(bits=2, group_size=16) | gptq(bits=4, group_size=16)', budget=4, "
           "samples=6, "
           "sequence_length=48, generations=2, offspring=3, survivors=1, tokens=96)";
  return spec.name + (spec.parameter("group_size") ? "(group_size=16)" : "");
}

Result compress(const MethodSpec& spec, std::shared_ptr<const StoredStatistics> stored) {
  const auto stage = parse_recipe(recipe_of(spec));
  const auto method = make_method(spec.name, Params(stage.stages[0].params, "params"));
  const auto model = small_model::make();
  const auto targets = small_model::linear_layers(*model, spec.kind == "quantize");
  Calibration calibration{
      stored && SearchingMethod::tokens_of(*method) == 0 ? at::Tensor() : tokens(), {}, Propagate::kDense};
  calibration.stored = std::move(stored);
  NoProgress quiet;
  Snapshot snapshot;
  Result result{method->run({*model, targets, calibration, quiet, snapshot}), {}};
  result.weights = small_model::copy_weights(*model);
  return result;
}

std::set<Statistic> statistics_of_spec(const MethodSpec& spec) {
  std::set<Statistic> which;
  for (const auto& name : spec.statistics) which.insert(statistic_named(name));
  return which;
}

TEST(StoredStatistics, GiveEveryMethodThatSharesThemTheBitsOfAPassOfItsOwn) {
  std::size_t methods = 0;
  for (const auto* spec : Catalogue::embedded().methods()) {
    if (spec->statistics.empty() || spec->determinism == "none") continue;
    ++methods;
    const auto which = statistics_of_spec(*spec);
    const TempDir folder;
    NoProgress quiet;
    EXPECT_TRUE(gather(folder.path(), which, quiet).at("kept").get<bool>());
    const auto own = compress(*spec, nullptr);
    const auto read = compress(
        *spec, std::make_shared<StoredStatistics>(FileTree::on_disk(folder.path() / "out"), which, at::kCPU));
    EXPECT_EQ(read.report, own.report) << spec->name;
    ASSERT_EQ(read.weights.size(), own.weights.size());
    for (const auto& [name, weight] : own.weights)
      EXPECT_TRUE(at::equal(read.weights.at(name), weight)) << spec->name << " " << name;
  }
  EXPECT_GE(methods, 5u);
}

TEST(StoredStatistics, OfASpecAreThoseThatItsMethodNeeds) {
  for (const auto* spec : Catalogue::embedded().methods()) {
    if (spec->statistics.empty()) continue;
    const auto stage = parse_recipe(spec->name).stages[0];
    EXPECT_EQ(make_method(spec->name, Params(stage.params, "params"))->needs(), statistics_of_spec(*spec))
        << spec->name;
  }
}

std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename().string()] = read_file(entry.path());
  return files;
}

TEST(StoredStatistics, AreTheSameFilesAfterAKillAtAnyBlockAndNotThereBefore) {
  const std::set which{Statistic::kHessian, Statistic::kMoments};
  const TempDir undisturbed;
  NoProgress quiet;
  gather(undisturbed.path(), which, quiet);
  const auto expected = files_in(undisturbed.path() / "out");
  EXPECT_EQ(expected.size(), kBlocks + 1);
  for (std::uint64_t block = 0; block <= kBlocks; ++block) {
    const TempDir folder;
    Killer killer(block);
    EXPECT_THROW(gather(folder.path(), which, killer), Error);
    EXPECT_FALSE(fs::exists(folder.path() / "out"));
    const Json report = gather(folder.path(), which, quiet);
    EXPECT_TRUE(report.at("kept").get<bool>());
    EXPECT_EQ(files_in(folder.path() / "out"), expected) << block;
  }
}

TEST(StoredStatistics, AreNotKeptWhereTheDiskHasNoRoom) {
  const auto model = small_model::make();
  const auto targets = statistics_targets(*model);
  const Calibration calibration{tokens(), {}, Propagate::kDense};
  const TempDir folder;
  NoProgress quiet;
  Snapshot snapshot(folder.path() / "snapshot", /*reserve_bytes=*/1ull << 60);
  const Json report = gather_statistics({Statistic::kHessian}, folder.path() / "out")
                          ->run({*model, targets, calibration, quiet, snapshot});
  EXPECT_FALSE(report.at("kept").get<bool>());
  EXPECT_FALSE(fs::exists(folder.path() / "out"));
}

TEST(StoredStatistics, ThatAreDamagedSaySo) {
  const TempDir folder;
  NoProgress quiet;
  gather(folder.path(), {Statistic::kInputNorm}, quiet);
  const auto files = FileTree::on_disk(folder.path() / "out");
  const StoredStatistics other(files, {Statistic::kHessian}, at::kCPU);
  EXPECT_THROW(other.block(0), Error);
  fs::resize_file(folder.path() / "out" / "1.safetensors", 100);
  EXPECT_THROW(StoredStatistics(files, {Statistic::kInputNorm}, at::kCPU), Error);
}

TEST(StoredStatistics, TakeTheBytesThatWereForetold) {
  const std::set which{Statistic::kHessian};
  const TempDir folder;
  NoProgress quiet;
  gather(folder.path(), which, quiet);
  const auto model = small_model::make();
  const auto foretold = statistics_bytes(*model, which);
  std::uint64_t bytes = 0;
  for (const auto& [name, content] : files_in(folder.path() / "out")) bytes += content.size();
  EXPECT_GT(bytes, foretold);
  EXPECT_LT(bytes, foretold + (kBlocks + 1) * 2048);
}

}  // namespace
}  // namespace wring

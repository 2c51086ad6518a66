// Keys of a plan: what a stage reads is in its key.
#include "engine/run/steps.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "common/error.h"
#include "common/files.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

std::vector<Digest> stage_keys(const char* recipe, const char* model, const char* reference) {
  JobSpec spec{.recipe = parse_recipe(recipe), .model = {{}, sha256(model)}};
  for (const char* name : {"calibration", "train"}) spec.data.emplace(name, JobInput{{}, sha256("text")});
  if (reference) spec.reference = JobInput{{}, sha256(reference)};
  std::vector<Digest> keys;
  for (const Step& step : plan_steps(spec))
    if (step.stage) keys.push_back(*step.plan.key);
  return keys;
}

TEST(StageKeys, DependOnTheReferenceWhereTheStageLooksAtItAndNowhereElse) {
  for (const char* recipe : {"gptq(bits=3) | eora(rank=8)", "gptq(bits=3) | svd-compensation(rank=8)",
                             "magnitude-units(target_group_sparsity=0.3) | distill-classifier"}) {
    const auto own = stage_keys(recipe, "m", nullptr), same = stage_keys(recipe, "m", "m"),
               other = stage_keys(recipe, "m", "r");
    EXPECT_EQ(own, same) << "without a reference it is the input";
    EXPECT_EQ(own[0], other[0]);
    EXPECT_NE(own[1], other[1]);
  }
  EXPECT_EQ(stage_keys("rtn | wanda", "m", nullptr), stage_keys("rtn | wanda", "m", "r"));
}

TEST(StageKeys, HoldTheKeyOfTheStageThatIsTheReference) {
  const std::string chain = "flap | distill(steps=2) | gptq | eora";
  const auto input = stage_keys(chain.c_str(), "m", nullptr),
             flap = stage_keys((chain + "(reference=flap)").c_str(), "m", nullptr),
             distill = stage_keys((chain + "(reference=distill)").c_str(), "m", nullptr);
  for (const auto& keys : {flap, distill}) {
    EXPECT_TRUE(std::equal(keys.begin(), keys.end() - 1, input.begin()));
    EXPECT_NE(keys.back(), input.back());
  }
  EXPECT_NE(flap.back(), distill.back());
  EXPECT_EQ(distill, stage_keys((chain + "(reference=1)").c_str(), "m", nullptr));
  const auto other = stage_keys((chain + "(reference=flap)").c_str(), "m", "r");
  EXPECT_NE(other[1], flap[1]) << "distill's teacher is the job's reference";
}

// A model as it lies on disk, for keys alone: nothing loads it.
class KeysOfAFolder : public testing::Test {
 protected:
  KeysOfAFolder() {
    write("config.json", "{}");
    write("tokenizer.json", "{\"a\": 1}");
    write("model.safetensors", "weights");
  }
  void write(const std::string& name, const std::string& text) {
    write_file_atomic(folder_.path() / name, text);
  }
  JobSpec spec(const std::string& recipe = "gptq(bits=3, samples=4) | rtn") const {
    JobSpec spec{.recipe = parse_recipe(recipe), .model = input_on_disk(folder_.path(), "model")};
    spec.data.emplace("calibration", JobInput{{}, sha256("text")});
    return spec;
  }
  static std::vector<Digest> keys(const JobSpec& spec) {
    std::vector<Digest> keys;
    for (const Step& step : plan_steps(spec)) keys.push_back(*step.plan.key);
    return keys;
  }
  TempDir folder_;
};

TEST_F(KeysOfAFolder, ChangeWithEveryFileOfTheModelItsTokenizerAmongThem) {
  std::set<Digest> seen{keys(spec()).front()};
  for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) {
    write(file, "other");
    seen.insert(keys(spec()).front());
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST_F(KeysOfAFolder, OfAllLaterStagesChangeWithSeedDataAndDeviceClass) {
  const auto plain = keys(spec());
  std::vector<JobSpec> others(3, spec());
  others[0].seed = 1;
  others[1].data.at("calibration").digest = sha256("other");
  others[2].device = "cuda:0";
  for (const auto& other : others) {
    const auto changed = keys(other);
    EXPECT_NE(changed[0], plain[0]);
    EXPECT_NE(changed[1], plain[1]);  // by what goes in
  }
}

TEST_F(KeysOfAFolder, DependOnNoPathThreadCountMemoryDeviceNumberOrWayOfWritingTheRecipe) {
  const auto plain = keys(spec());
  const TempDir elsewhere;
  std::filesystem::copy(folder_.path(), elsewhere.path() / "model");
  auto other =
      spec("# in another order\nstages:\n- {params: {samples: 4, bits: 3}, method: gptq}\n- rtn\nname: n\n");
  other.model = input_on_disk(elsewhere.path() / "model", "model");
  other.threads = 7;
  other.memory_bytes = 1 << 30;
  other.out = elsewhere.path() / "out";
  other.work = other.snapshots = elsewhere.path();
  EXPECT_EQ(keys(other), plain);
  auto first = spec(), second = spec();
  first.device = "cuda:0";
  second.device = "cuda:1";
  EXPECT_EQ(keys(first), keys(second));
}

std::string refusal(const char* recipe) {
  JobSpec spec{.recipe = parse_recipe(recipe), .model = {{}, sha256("m")}};
  try {
    check_recipe(spec, Body(small_model::make()), {});
  } catch (const Error& error) {
    return error.reason();
  }
  return "";
}

TEST(Recipe, WhoseLayersAreNoLongerThoseOfTheReferenceIsRefusedBeforeItRuns) {
  EXPECT_EQ(refusal("awq-scaling(group_size=16) | rtn(group_size=16) | eora(rank=4)"), "REFERENCE_MISMATCH");
  EXPECT_EQ(refusal("flap(ratio=0.2) | rtn(group_size=-1) | svd-compensation(rank=4)"), "REFERENCE_MISMATCH");
  EXPECT_EQ(refusal("flap(ratio=0.2) | rtn(group_size=-1) | svd-compensation(rank=4, reference=flap)"), "");
  EXPECT_EQ(refusal("rtn(group_size=-1) | flap(ratio=0.2) | rtn(group_size=-1) | svd-compensation(rank=4, "
                    "reference=0)"),
            "REFERENCE_MISMATCH");
  EXPECT_EQ(refusal("eora(rank=4)"), "NO_REFERENCE");
  EXPECT_EQ(refusal("rtn(group_size=16) | eora(rank=4)"), "");
}

}  // namespace
}  // namespace wring

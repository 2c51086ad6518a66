// Times of layers at levels: which layers are timed together, and that each figure is its own pass's.
#include "engine/eval/level_times.h"

#include <gtest/gtest.h>

#include "common/clock.h"
#include "recipe/levels.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

using small_model::kBlocks;

std::vector<Level> levels(const std::string& text) {
  return make_levels(Params({{"levels", check_levels(text, "levels", Source{})}}, "params"), "levels");
}

TEST(LevelTimes, AreOfOneLayerOfEachShapeAndOfTheLevelsThatItTakes) {
  const auto model = small_model::make();
  const auto some = levels(
      "rtn(bits=4, group_size=16, ignore=[]) | gptq(bits=2, group_size=16, ignore=[]) | "
      "gptq(bits=3, group_size=16, targets='re:.*down_proj') | rtn(bits=4, group_size=64, ignore=[])");
  NoProgress quiet;
  int calls = 0;
  // 3 passes of [32, 32], 3 of [64, 32], 5 of [32, 64], which all levels take, and 3 of the head, [96, 32].
  const Json table = level_times(*model, some, 3, quiet, [&](const std::function<void()>& pass) {
    pass();
    return static_cast<double>(calls++ % 14);
  });
  EXPECT_EQ(calls, 4 * 14) << "one round warms up";
  ASSERT_EQ(table.size(), 4u);
  const auto shape = [&](std::size_t i) { return Json{table[i]["rows"], table[i]["columns"]}; };
  EXPECT_EQ(shape(0), Json({32, 32}));
  EXPECT_EQ(shape(1), Json({64, 32}));
  EXPECT_EQ(shape(2), Json({32, 64}));
  EXPECT_EQ(shape(3), Json({96, 32}));
  EXPECT_EQ(table[0]["layers"].size(), 4u * kBlocks);
  EXPECT_EQ(table[3]["layers"], Json({"lm_head"})) << "an embedding that is no head multiplies nothing";
  EXPECT_EQ(table[0]["seconds"], 0);
  EXPECT_EQ(table[2]["seconds"], 6);
  EXPECT_EQ(table[2]["levels"], Json::parse(R"([{"level": 0, "seconds": 7}, {"level": 1, "seconds": 8},
                                                {"level": 2, "seconds": 9}, {"level": 3, "seconds": 10}])"));
  EXPECT_EQ(table[3]["levels"], Json::parse(R"([{"level": 0, "seconds": 12}, {"level": 1, "seconds": 13}])"));
}

TEST(LevelTimes, OfLayersThatAreStoredOtherwiseAreTheirOwn) {
  const auto model = small_model::make();
  Layer& layer = *model->find_layer("model.layers.1.self_attn.q_proj");
  Json report;
  layer.set_weight(levels("rtn(bits=8, group_size=16)")[0].method->compress({layer}, report));
  NoProgress quiet;
  const Json table = level_times(*model, levels("rtn(bits=4, group_size=16)"), 1, quiet);
  ASSERT_EQ(table.size(), 4u) << "three shapes, and one layer that is packed already";
  for (const auto& row : table) {
    EXPECT_GT(row["seconds"].get<double>(), 0);
    if (row["layers"].size() == 1) {
      EXPECT_EQ(row["layers"][0], "model.layers.1.self_attn.q_proj");
    }
  }
}

}  // namespace
}  // namespace wring

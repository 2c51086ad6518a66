// Cutting coupled groups and blocks: for every family and label, groups that are zero can go without a trace.
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/files.h"
#include "engine/export/exporter.h"
#include "engine/model/load.h"
#include "tests/engine/random_family.h"

namespace wring {
namespace {

using Kind = CoupledGroups::Kind;

at::Tensor ids() {
  at::manual_seed(1);
  return at::randint(64, {2, 12}, at::kLong);
}

at::Tensor output(const Model& model) {
  return model.forward(ids());
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Some groups, of which about a half stays, and at least one.
at::Tensor random_kept(std::int64_t count) {
  const at::Tensor order = at::randperm(count);
  return std::get<0>(at::sort(order.narrow(0, 0, std::max<std::int64_t>(1, count / 2))));
}

// All slices of the other groups as zeros, in a model of the same shape.
void zero_others(Model& model, const CoupledGroups& groups, const at::Tensor& kept) {
  const at::Tensor gone = at::ones({groups.count}, at::kBool).index_fill(0, kept, false);
  const auto clear = [&](at::Tensor values, std::int64_t axis, const std::string& label) {
    for (const auto& [name, width] : groups.axes)
      if (name == label) {
        const auto indices = at::nonzero(gone.repeat_interleave(width)).reshape({-1});
        values = values.index_fill(axis, indices, 0);
      }
    return values;
  };
  for (Layer* layer : model.layers()) {
    at::Tensor weight = layer->weight().decode(at::kFloat);
    for (std::int64_t axis = 0; axis < 2; ++axis)
      weight = clear(weight, axis, layer->axes()[static_cast<std::size_t>(axis)]);
    layer->set_weight(dense_rep(weight));
    if (layer->bias().defined()) layer->set_bias(clear(layer->bias(), 0, layer->axes()[0]));
  }
  for (auto& parameter : model.parameters())
    for (std::size_t axis = 0; axis < parameter.axes.size(); ++axis)
      parameter.value = clear(parameter.value, static_cast<std::int64_t>(axis), parameter.axes[axis]);
}

TEST(Cut, OfGroupsThatAreZeroChangesNothingForEveryFamilyAndLabel) {
  for (const auto& family : random_family::all()) {
    const auto labels = family.make()->coupled_groups();
    ASSERT_GE(labels.size(), 6u);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      SCOPED_TRACE(std::string(family.name) + ": " + labels[i].axes.back().label);
      const auto zeroed = family.make(), cut = family.make();
      const at::Tensor before = output(*zeroed), kept = random_kept(labels[i].count);
      zero_others(*zeroed, labels[i], kept);
      cut->keep_groups(labels[i], kept);
      EXPECT_LT(difference(output(*zeroed), output(*cut)), 1e-4);
      EXPECT_GT(difference(before, output(*cut)), 1e-3);  // the groups did matter
      EXPECT_EQ(cut->coupled_groups()[i].count, kept.numel());
      EXPECT_LT(cut->parameter_count(), zeroed->parameter_count());
    }
  }
}

TEST(Cut, OfAllLabelsAtOnceGivesBlocksOfTheirOwnShapesThatAreWrittenAndReadBack) {
  for (const auto& family : random_family::all()) {
    SCOPED_TRACE(family.name);
    const auto zeroed = family.make(), cut = family.make();
    for (const auto& groups : zeroed->coupled_groups()) {
      const at::Tensor kept = random_kept(groups.block == 1 ? groups.count : groups.count - 1);
      zero_others(*zeroed, groups, kept);
      cut->keep_groups(groups, kept);
    }
    const at::Tensor expected = output(*zeroed);
    EXPECT_LT(difference(expected, output(*cut)), 1e-4);

    const TempDir folder;
    save_model(*cut, FileTree::on_disk(folder.path()), Json::array(), folder.path() / "cut",
               Durability::kProcess);
    const auto read = load_model(FileTree::on_disk(folder.path() / "cut"));
    EXPECT_TRUE(at::equal(output(*read), output(*cut)));
    EXPECT_EQ(read->config(), cut->config());
    EXPECT_EQ(read->parameter_count(), cut->parameter_count());
    EXPECT_TRUE(read->config().contains("intermediate_size_per_layer"));
  }
}

TEST(Cut, OfAllGroupsTakesTheModuleAndLeavesItsBias) {
  for (const auto& family : random_family::all()) {
    SCOPED_TRACE(family.name);
    const auto zeroed = family.make(), cut = family.make();
    const at::Tensor none = at::empty({0}, at::kLong);
    std::vector<CoupledGroups> chosen;  // the attention of block 0, the FFN of block 1, both of block 2
    for (const auto& groups : cut->coupled_groups())
      if (groups.block == 2 || (groups.block == 0 && groups.kind == Kind::kHeads) ||
          (groups.block == 1 && groups.kind == Kind::kFfn))
        chosen.push_back(groups);
    ASSERT_EQ(chosen.size(), 4u);
    for (const auto& groups : chosen) {
      zero_others(*zeroed, groups, none);
      cut->keep_groups(groups, none);
    }
    EXPECT_LT(difference(output(*zeroed), output(*cut)), 1e-4);
    EXPECT_TRUE(cut->block_layers(2).empty());
    const TempDir folder;
    save_model(*cut, FileTree::on_disk(folder.path()), Json::array(), folder.path() / "cut",
               Durability::kProcess);
    EXPECT_TRUE(at::equal(output(*load_model(FileTree::on_disk(folder.path() / "cut"))), output(*cut)));
  }
}

TEST(Cut, KeepsQueryHeadsBesideTheirKvHead) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  const auto heads = model->coupled_groups().front();
  ASSERT_EQ(heads.kind, Kind::kHeads);
  ASSERT_EQ(heads.count, 2);
  const at::Tensor q = model->find_layer("model.layers.0.self_attn.q_proj")->weight().decode(at::kFloat),
                   v = model->find_layer("model.layers.0.self_attn.v_proj")->weight().decode(at::kFloat);
  model->keep_groups(heads, at::ones({1}, at::kLong));
  const auto weight = [&](const char* name) {
    return model->find_layer(std::string("model.layers.0.self_attn.") + name)->weight().decode(at::kFloat);
  };
  EXPECT_TRUE(at::equal(weight("q_proj"), q.narrow(0, 24, 24)));  // query heads 3 to 5 share KV head 1
  EXPECT_TRUE(at::equal(weight("v_proj"), v.narrow(0, 8, 8)));
  EXPECT_EQ(model->config().at("num_attention_heads_per_layer"), Json({3, 6, 6}));
  EXPECT_EQ(model->config().at("num_key_value_heads_per_layer"), Json({1, 2, 2}));
}

TEST(Cut, CountsTheWeightsOfAGroup) {
  const auto model = random_family::llama(random_family::llama_config(), true);
  const auto groups = model->coupled_groups();
  EXPECT_EQ(model->weights_per_group(groups[0]), (2 * 3 + 2) * 8 * 48);  // 3 heads of q and o, one of k and v
  EXPECT_EQ(model->weights_per_group(groups[1]), 3 * 48);
  EXPECT_EQ(model->weights_per_group(groups.back()), 2 * 64 + 3 * (2 * 48 + 2 * 16 + 3 * 40));
  EXPECT_EQ(model->reader_of(groups[2]).name(), "model.layers.1.self_attn.o_proj");
  EXPECT_EQ(model->reader_of(groups[3]).name(), "model.layers.1.mlp.down_proj");
}

TEST(Cut, AlikeInEveryBlockLeavesPlainFieldsThatOtherToolsRead) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  for (const auto& groups : model->coupled_groups())
    if (groups.block) model->keep_groups(groups, random_kept(groups.count));
  EXPECT_EQ(model->config().at("intermediate_size"), 20);
  EXPECT_EQ(model->config().at("num_attention_heads"), 3);
  EXPECT_EQ(model->config().at("num_key_value_heads"), 1);
  EXPECT_EQ(model->config().at("head_dim"), 8);
  for (const auto& [key, value] : model->config().items()) EXPECT_FALSE(key.ends_with("_per_layer")) << key;
}

TEST(Cut, DecodesWithACacheAsWithout) {
  const auto model = random_family::llama(random_family::llama_config(), true);
  const auto groups = model->coupled_groups();
  model->keep_groups(groups[0], at::ones({1}, at::kLong));
  model->keep_groups(groups[2], at::empty({0}, at::kLong));
  model->keep_groups(groups[5], random_kept(40));
  const at::Tensor tokens = ids().narrow(0, 0, 1), whole = model->forward(tokens);
  KvCache cache;
  for (std::int64_t i = 0; i < tokens.size(1); ++i) {
    const at::Tensor step = model->forward(tokens.narrow(1, i, 1), {{}, &cache});
    cache.advance(1);
    EXPECT_LT(difference(step.select(1, 0), whole.select(1, i)), 1e-4) << i;
  }
}

TEST(Cut, KeepsAMaskedWeightMasked) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  Layer* const down = model->find_layer("model.layers.0.mlp.down_proj");
  const at::Tensor weight = down->weight().decode(at::kFloat), mask = at::rand(weight.sizes()) < 0.4;
  down->set_weight(masked_rep(weight, mask));
  const at::Tensor kept = random_kept(40);
  model->keep_groups(model->coupled_groups()[1], kept);
  EXPECT_EQ(down->weight().format(), "masked");
  EXPECT_TRUE(at::equal(down->weight().decode(at::kFloat), (weight * mask).index_select(1, kept)));
}

TEST(Cut, RefusesAWeightThatWouldHaveToBeEncodedAnewAndLeavesTheModelAlone) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  Layer* const down = model->find_layer("model.layers.1.mlp.down_proj");
  down->set_weight(
      packed_int_rep({4, 8, at::zeros({48, 40}, at::kByte), at::ones({48, 5}, at::kHalf), at::Tensor()}));
  const at::Tensor before = output(*model);
  try {
    model->keep_groups(model->coupled_groups()[3], random_kept(40));
    FAIL() << "a packed weight was cut";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "NOT_SLICEABLE");
    EXPECT_EQ(e.field(), "model.layers.1.mlp.down_proj");
    EXPECT_NE(e.hint().find("before the stage that quantises"), std::string::npos);
  }
  EXPECT_TRUE(at::equal(output(*model), before));
}

TEST(Blocks, ThatAreDroppedLeaveTheOthersAsTheyWere) {
  for (const auto& family : random_family::all()) {
    for (std::size_t dropped = 0; dropped < 3; ++dropped) {
      SCOPED_TRACE(family.name);
      const auto model = family.make();
      at::Tensor hidden = model->embed(ids(), at::kFloat);
      for (std::size_t block = 0; block < 3; ++block)
        if (block != dropped) hidden = model->run_block(block, hidden, {});
      const at::Tensor expected = model->head(model->final_norm(hidden));
      const auto names = [](Model& m, std::size_t block) {
        std::vector<std::string> all;
        for (const Layer* layer : m.block_layers(block))
          all.push_back(layer->name() + layer->axes()[0] + layer->axes()[1] + layer->input_tap());
        return all;
      };
      const auto first = names(*model, 0), second = names(*model, 1);
      model->drop_block(dropped);
      EXPECT_TRUE(at::equal(model->forward(ids()), expected));
      EXPECT_EQ(names(*model, 0), first);
      EXPECT_EQ(names(*model, 1), second);
      EXPECT_EQ(model->config().at("num_hidden_layers"), 2);
      const TempDir folder;
      save_model(*model, FileTree::on_disk(folder.path()), Json::array(), folder.path() / "cut",
                 Durability::kProcess);
      EXPECT_TRUE(at::equal(output(*load_model(FileTree::on_disk(folder.path() / "cut"))), expected));
    }
  }
}

Json written_config(const Model& model, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder / "source");
  std::filesystem::create_directories(folder / "out");
  const FileTree source = FileTree::on_disk(folder / "source");
  const Params params({{"dtype", "float32"}, {"shard_bytes", 1'000'000'000}, {"pad", false}}, "to.params");
  Claims claims;
  find_exporter("huggingface")({model, source, params, "model", folder / "out"}, claims);
  return parse_json(read_file(folder / "out" / "config.json"), "config.json");
}

TEST(HuggingFace, RefusesBlocksThatDifferAndNamesTheField) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  model->keep_groups(model->coupled_groups()[1], random_kept(40));
  const TempDir folder;
  try {
    written_config(*model, folder.path());
    FAIL() << "it was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "NOT_EXPRESSIBLE");
    EXPECT_EQ(e.field(), "config.json.intermediate_size_per_layer");
  }
}

TEST(HuggingFace, HasZerosWhereItsClassHasABiasThatTheModelLacks) {
  const auto model = random_family::llama(random_family::llama_config(), false);
  model->find_layer("model.layers.1.self_attn.o_proj")->set_bias(at::ones({48}));
  const TempDir folder;
  const Json config = written_config(*model, folder.path());
  EXPECT_EQ(config.at("attention_bias"), true);
  EXPECT_FALSE(config.contains("mlp_bias"));
  const auto read = load_model(FileTree::on_disk(folder.path() / "out"));
  EXPECT_TRUE(at::equal(output(*read), output(*model)));
  EXPECT_EQ(read->find_layer("model.layers.0.self_attn.k_proj")->bias().abs().max().item<float>(), 0);
  EXPECT_FALSE(read->find_layer("model.layers.0.mlp.up_proj")->bias().defined());
}

TEST(HuggingFace, RefusesABiasThatItsClassLacks) {
  const auto model = random_family::llama(random_family::llama_config({{"model_type", "qwen2"}}), false);
  model->find_layer("model.layers.2.self_attn.o_proj")->set_bias(at::ones({48}));
  const TempDir folder;
  try {
    written_config(*model, folder.path());
    FAIL() << "it was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "NOT_EXPRESSIBLE");
    EXPECT_EQ(e.field(), "model.layers.2.self_attn.o_proj.bias");
  }
}

}  // namespace
}  // namespace wring

// Processes that share a stage (threads here, with a team each) end with the bits of one that runs it alone.
#include "engine/run/team.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <exception>
#include <thread>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/parts.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/run/progress.h"
#include "engine/run/snapshot.h"
#include "tests/engine/killer.h"
#include "tests/engine/random_family.h"
#include "tests/engine/small_model.h"

namespace wring {
namespace {

using small_model::kBlocks, small_model::kVocabulary;

std::vector<Team> teams(std::size_t size) {
  std::vector<std::vector<FileDescriptor>> links(size);
  for (auto& row : links) row.resize(size);
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      int ends[2];
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
      links[i][j] = FileDescriptor(ends[0]);
      links[j][i] = FileDescriptor(ends[1]);
    }
  }
  std::vector<Team> all;
  for (std::size_t i = 0; i < size; ++i) all.emplace_back(static_cast<int>(i), std::move(links[i]));
  return all;
}

// Runs `work` in a thread for each; one that throws tells the first as a process does, and hangs up. Throws
// what the first one threw.
template <typename Work>
void together(std::size_t size, const Work& work) {
  std::vector<std::thread> threads;
  std::exception_ptr first;
  auto all = teams(size);
  for (std::size_t rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank, team = std::move(all[rank])]() mutable {
      try {
        work(team);
      } catch (const Error& error) {
        if (rank == 0) first = std::current_exception();
        if (rank != 0) team.fail(error);
      }
      team = Team();
    });
  for (auto& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

TEST(Team, GivesParcelsOfAnyTypesAndShapes) {
  const std::vector<NamedTensor> tensors{{"a", at::arange(7, at::kLong)},
                                         {"empty", at::empty({0, 3})},
                                         {"b", at::randn({3, 4}).t()},
                                         {"c", at::ones({2}, at::kBFloat16)},
                                         {"large", at::randn({1 << 20})}};
  together(2, [&](Team& team) {
    if (team.first()) return team.send(1, {{{"x", 1}}, tensors});
    const Parcel parcel = team.receive(0);
    EXPECT_EQ(parcel.json, (Json{{"x", 1}}));
    ASSERT_EQ(parcel.tensors.size(), tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(parcel.tensors[i].suffix, tensors[i].suffix);
      EXPECT_EQ(parcel.tensors[i].tensor.scalar_type(), tensors[i].tensor.scalar_type());
      EXPECT_TRUE(at::equal(parcel.tensors[i].tensor, tensors[i].tensor)) << tensors[i].suffix;
    }
  });
}

TEST(Team, AddsUpInTheOrderOfRanksWithTheSameBitsInAll) {
  at::manual_seed(3);
  std::vector<at::Tensor> own;
  for (int rank = 0; rank < 4; ++rank) own.push_back(at::randn({1000}) * std::pow(10, rank));
  const at::Tensor expected = ((own[0] + own[1]) + own[2]) + own[3];
  together(4, [&](Team& team) {
    const auto rank = static_cast<std::size_t>(team.rank());
    // The second is there in two processes, the third in none.
    std::vector<at::Tensor> tensors{own[rank], rank % 2 == 1 ? own[rank] : at::Tensor(), at::Tensor()};
    team.add_up(tensors);
    EXPECT_TRUE(at::equal(tensors[0], expected));
    EXPECT_TRUE(at::equal(tensors[1], own[1] + own[3]));
    EXPECT_FALSE(tensors[2].defined());
  });
}

std::string reason_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.reason() + " " + error.field();
  }
  return "";
}

TEST(Team, WhoeverWaitsForOneThatHasFailedHearsOfWhat) {
  const auto fails = [](Team& team) {
    if (team.rank() == 2) throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "no number", "blocks.1");
    if (team.rank() == 1) team.receive(2);
    team.receive(1);  // the first one: misses one that misses another
  };
  EXPECT_EQ(reason_of([&] { together(3, fails); }), "NOT_FINITE blocks.1");
  EXPECT_EQ(reason_of([] {
              together(3, [](Team& team) {
                if (team.first()) team.receive(2);
              });
            }),
            "ENGINE_CRASH ");
  EXPECT_EQ(reason_of([] {
              together(2, [](Team& team) {
                while (team.first()) team.send(1, {{}, {{"x", at::ones({1000})}}});
              });
            }),
            "ENGINE_CRASH ");
}

const std::set<Statistic> kAll{Statistic::kInputNorm, Statistic::kInputMagnitude, Statistic::kHessian,
                               Statistic::kMoments, Statistic::kInputValues};

std::vector<at::Tensor> parts_of(const at::Tensor& x) {
  return {x.narrow(0, 0, 900),    x.narrow(0, 900, 1),  x.narrow(0, 901, 2300), x.narrow(0, 3201, 40),
          x.narrow(0, 3241, 500), x.narrow(0, 3741, 0), x.narrow(0, 3741, 900), x.narrow(0, 4641, 359)};
}

StatisticsByTap gather(const at::Tensor& rows) {
  StatisticsByTap taps;
  if (rows.size(0) == 0) return taps;
  taps["tap"] = std::make_unique<Statistics>(rows.size(1), kAll, at::kCPU);
  taps["tap"]->add(rows);
  return taps;
}

TEST(PartTree, IsTheFixedTreeOfItsPartsInHoweverManyProcesses) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({5000, 70}) + 100;
  const auto parts = parts_of(x);
  const auto gram = [&](int i) {
    auto part = gather(parts[static_cast<std::size_t>(i)]);
    return part.empty() ? at::zeros({70, 70})
                        : part["tap"]->hessian() * (static_cast<double>(part["tap"]->rows()) / 2);
  };
  for (const std::size_t size : {1, 2, 4, 8}) {
    together(size, [&](Team& team) {
      PartTree tree;
      const auto own = parts.size() / size;
      for (std::size_t i = 0; i < own; ++i)
        tree.add(gather(parts[static_cast<std::size_t>(team.rank()) * own + i]));
      const auto all = tree.finish(team, kAll, at::kCPU);
      static std::map<std::string, at::Tensor> first;
      const Statistics& found = *all.at("tap");
      EXPECT_EQ(found.rows(), 5000);
      for (const auto& [name, tensor] : found.tensors()) {
        if (size == 1) first[name] = tensor.clone();
        EXPECT_TRUE(at::equal(tensor, first.at(name))) << name << " in " << size << " processes";
      }
      if (size > 1) return;
      const at::Tensor exact = x.to(at::kDouble), pairs = ((gram(0) + gram(1)) + (gram(2) + gram(3))) +
                                                          ((gram(4) + gram(5)) + (gram(6) + gram(7)));
      EXPECT_TRUE(at::allclose(found.hessian(), pairs * (2.0 / 5000), 1e-5, 0));
      EXPECT_EQ(found.value_counts().counts.sum().item<double>(), 5000 * 70);
      EXPECT_TRUE(at::allclose(found.mean(), exact.mean(0), 1e-12, 0));
      EXPECT_TRUE(at::allclose(found.variance(), (exact - exact.mean(0)).square().mean(0), 1e-9, 0));
      EXPECT_TRUE(at::allclose(found.input_norm(), exact.square().sum(0).sqrt().to(at::kFloat), 1e-5, 0));
    });
  }
}

struct Stage {
  const char* recipe;
  Propagate propagate;
  bool with_head = false;
  std::int64_t sequences = 21;
};

struct Made {
  std::vector<Json> layers;
  std::map<std::string, at::Tensor> weights;
};

// What the first process has made of the stage; the others' models must be the same where `all`.
Made run(const Stage& stage, std::size_t size, const std::filesystem::path& snapshots = {},
         std::uint64_t killed_at = Killer::kNever, bool all = false) {
  const auto spec = parse_recipe(stage.recipe).stages.at(0);
  const auto method = make_method(spec.method, Params(spec.params, "params"));
  std::vector<std::unique_ptr<Model>> models, references;
  for (std::size_t i = 0; i < size; ++i) {
    models.push_back(small_model::make());
    references.push_back(small_model::make());
    for (Layer* layer : models.back()->layers())  // something to put back
      if (method->compares_layers() && layer->class_name() == "Linear")
        layer->set_weight(dense_rep(layer->weight().decode(at::kFloat) * 0.9));
  }
  at::manual_seed(11);
  const at::Tensor ids = at::randint(kVocabulary, {stage.sequences, 48}, at::kLong);
  Made made;
  together(size, [&](Team& team) {
    const auto rank = static_cast<std::size_t>(team.rank());
    Model& model = *models[rank];
    const auto targets = small_model::linear_layers(model, stage.with_head);
    Calibration calibration{ids, {}, stage.propagate};
    calibration.processes = &team;
    Killer killer(rank == 0 ? killed_at : Killer::kNever);
    Snapshot snapshot = rank == 0 ? Snapshot(snapshots) : Snapshot::of_another(snapshots);
    const Json report = method->run({model, targets, calibration, killer, snapshot,
                                     method->needs_reference() ? references[rank].get() : nullptr, 7});
    if (rank == 0) made.layers = report.at("layers").get<std::vector<Json>>();
  });
  made.weights = small_model::copy_weights(*models[0]);
  for (std::size_t i = 1; all && i < size; ++i)
    for (const auto& [name, weight] : small_model::copy_weights(*models[i]))
      EXPECT_TRUE(at::equal(weight, made.weights.at(name))) << name << " in process " << i;
  return made;
}

void expect_same(const Made& made, const Made& expected, const std::string& what) {
  EXPECT_EQ(made.layers, expected.layers) << what;
  ASSERT_EQ(made.weights.size(), expected.weights.size()) << what;
  for (const auto& [name, weight] : expected.weights)
    EXPECT_TRUE(at::equal(made.weights.at(name), weight)) << name << ": " << what;
}

class Split : public testing::TestWithParam<Stage> {};

TEST_P(Split, GivesTheSameBitsInOneTwoFourAndEightProcesses) {
  const auto alone = run(GetParam(), 1);
  for (const std::size_t size : {2, 4, 8})
    expect_same(run(GetParam(), size, {}, Killer::kNever, !GetParam().with_head), alone,
                std::to_string(size) + " processes");
}

TEST_P(Split, GoesOnFromASnapshotInAnotherNumberOfProcesses) {
  const auto alone = run(GetParam(), 1);
  for (const auto& [before, after] : {std::pair<std::size_t, std::size_t>{4, 1}, {1, 2}, {2, 4}}) {
    const TempDir folder;
    EXPECT_THROW(run(GetParam(), before, folder.path() / "s", 2), Error);
    ASSERT_TRUE(Snapshot(folder.path() / "s").state().has_value());
    expect_same(run(GetParam(), after, folder.path() / "s"), alone,
                std::to_string(before) + ", then " + std::to_string(after));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, Split,
    testing::Values(Stage{"gptq(group_size=16)", Propagate::kCompressed},
                    Stage{"gptq(group_size=16, activation_order=false)", Propagate::kDense, true},
                    Stage{"gptq(group_size=16)", Propagate::kCompressed, false, 3},  // fewer than processes
                    Stage{"gptq-float", Propagate::kCompressed}, Stage{"sparsegpt", Propagate::kCompressed},
                    Stage{"wanda(pattern=0.5)", Propagate::kCompressed, true},
                    Stage{"awq-scaling(group_size=16)", Propagate::kDense},
                    Stage{"bitstack(levels=3)", Propagate::kDense},
                    Stage{"mixed-levels(levels='gptq(group_size=16, ignore=[])')", Propagate::kCompressed},
                    Stage{"evopress(levels='gptq(bits=2, group_size=16) | gptq(bits=4, group_size=16)', "
                          "budget=4, samples=21, sequence_length=48, generations=2, offspring=3, "
                          "survivors=1, tokens=96)",
                          Propagate::kDense, true},
                    Stage{"eora(rank=4)", Propagate::kReference, true},
                    Stage{"flap(ratio=0.4)", Propagate::kDense},
                    Stage{"wanda-sp(ratio=0.4)", Propagate::kCompressed},
                    Stage{"modegpt(allocation=uniform)", Propagate::kDense}));

TEST(Split, TheBlocksInfluenceIsThatOfAllSequences) {
  const Stage stage{"modegpt(temperature=0.5)", Propagate::kDense};
  const auto alone = run(stage, 1);
  for (const std::size_t size : {2, 8})
    expect_same(run(stage, size, {}, 1000, true), alone, std::to_string(size) + " processes");
}

TEST(Split, OfPaddedSequencesGivesTheSameBits) {
  const auto spec = parse_recipe("gptq(group_size=8)").stages.at(0);
  const auto method = make_method(spec.method, Params(spec.params, "params"));
  std::map<std::string, at::Tensor> expected;
  for (const std::size_t size : {1, 2, 4}) {
    std::vector<std::unique_ptr<Model>> models;
    for (std::size_t i = 0; i < size; ++i) models.push_back(random_family::bert());
    at::manual_seed(12);
    const at::Tensor ids = at::randint(models[0]->vocabulary_size(), {19, 16}, at::kLong),
                     mask = at::arange(16).unsqueeze(0) < at::randint(1, 17, {19, 1});
    together(size, [&](Team& team) {
      Model& model = *models[static_cast<std::size_t>(team.rank())];
      const auto targets = random_family::linear_layers(model);
      Calibration calibration{ids, mask};
      calibration.processes = &team;
      NoProgress quiet;
      Snapshot none;
      method->run({model, targets, calibration, quiet, none});
    });
    const auto weights = small_model::copy_weights(*models[0]);
    if (size == 1) expected = weights;
    for (const auto& [name, weight] : expected)
      EXPECT_TRUE(at::equal(weights.at(name), weight)) << name << " in " << size << " processes";
  }
}

TEST(Split, StatisticsAreStoredWithTheSameBits) {
  std::string expected;
  for (const std::size_t size : {1, 2, 4}) {
    const TempDir folder;
    std::vector<std::unique_ptr<Model>> models;
    for (std::size_t i = 0; i < size; ++i) models.push_back(small_model::make());
    at::manual_seed(11);
    const at::Tensor ids = at::randint(kVocabulary, {10, 48}, at::kLong);
    together(size, [&](Team& team) {
      Model& model = *models[static_cast<std::size_t>(team.rank())];
      Calibration calibration{ids, {}, Propagate::kDense};
      calibration.processes = &team;
      NoProgress quiet;
      Snapshot snapshot =
          team.first() ? Snapshot(folder.path() / "s") : Snapshot::of_another(folder.path() / "s");
      const auto targets = statistics_targets(model);
      gather_statistics(kAll, folder.path() / "out")->run({model, targets, calibration, quiet, snapshot});
    });
    std::string bytes;
    for (const auto& path : FileTree::on_disk(folder.path() / "out").paths())
      bytes += path + read_file(folder.path() / "out" / path);
    if (size == 1) expected = bytes;
    EXPECT_EQ(bytes == expected, true) << size << " processes";
  }
  EXPECT_GT(expected.size(), 10000u);
}

class SplitTraining : public testing::TestWithParam<const char*> {};

TEST_P(SplitTraining, StepsAsOneProcessDoesAndRepeatsItsBits) {
  const Stage stage{GetParam(), Propagate::kCompressed};
  const auto alone = run(stage, 1);
  for (const std::size_t size : {2, 4}) {
    const auto once = run(stage, size, {}, Killer::kNever, true), again = run(stage, size);
    expect_same(again, once, "again");
    const auto start = small_model::copy_weights(*small_model::make());
    double moved = 0, apart = 0;
    for (const auto& [name, weight] : alone.weights) {
      moved += (weight - start.at(name)).square().sum(at::kDouble).item<double>();
      apart += (weight - once.weights.at(name)).square().sum(at::kDouble).item<double>();
    }
    EXPECT_GT(moved, 1e-3);
    EXPECT_LT(apart, 1e-6 * moved) << size << " processes take other steps than one";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, SplitTraining,
    testing::Values(
        "finetune(steps=5, batch=6, learning_rate=0.01, value_dtype=float32)",
        "finetune(steps=3, batch=3, rank=4, learning_rate=0.01, value_dtype=float32)",
        "distill(steps=4, batch=8, learning_rate=0.01, hidden=0, labels=0.5, value_dtype=float32)",
        "compresso(ratio=0, steps=8, batch=6, adapters=all, learning_rate=0.01, value_dtype=float32)"));

}  // namespace
}  // namespace wring

// The command line as people and scripts type it: what needs no server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "client/cli/completion.h"
#include "client/cli/context.h"
#include "client/cli/submit.h"
#include "client/cli/transfers.h"
#include "common/error.h"
#include "common/files.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

using ::testing::HasSubstr;

// Exit status and what was printed to standard output.
struct Outcome {
  int status;
  std::string output, errors;
};

Outcome wring_with(const std::vector<std::string>& arguments) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int status = run_cli(arguments);
  return {status, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

TEST(Cli, AMistypedVerbIsAUsageErrorThatNamesTheNearestOne) {
  const auto [status, output, errors] = wring_with({"jbos"});
  EXPECT_EQ(status, 2);
  EXPECT_THAT(errors, HasSubstr("wring jobs"));
}

TEST(Cli, AVerbsOwnMistakeIsNotTakenForAnUnknownVerb) {
  const auto outcome = wring_with({"--server", "127.0.0.1:1", "put"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.errors, HasSubstr("PATH"));
  EXPECT_THAT(outcome.errors, HasSubstr("wring put --help"));
}

TEST(Cli, WithJsonAnErrorIsOneObjectOnStandardOutput) {
  const auto outcome = wring_with({"validate", "gptq(bits=9)", "--json"});
  EXPECT_EQ(outcome.status, 2);
  const auto error = parse_json(outcome.output, "output").at("error");
  EXPECT_EQ(error.at("field"), "stages[0].params.bits");
  EXPECT_EQ(error.at("code"), "INVALID_ARGUMENT");
}

TEST(Cli, GlobalFlagsMayStandBeforeOrBehindTheVerb) {
  const auto before = wring_with({"--json", "validate", "rtn(bits=4)"}),
             behind = wring_with({"validate", "rtn(bits=4)", "--json"});
  EXPECT_EQ(before.status, 0);
  EXPECT_EQ(before.output, behind.output);
}

TEST(Cli, ValidatePrintsTheSameDigestForTheSameRecipeInYamlAndInOneLine) {
  const TempDir folder;
  const auto file = folder.path() / "recipe.yaml";
  write_file_atomic(file, "stages:\n  - method: rtn\n    params: {bits: 4}\n");
  const auto line = wring_with({"validate", "rtn(bits=4)", "--json"}),
             yaml = wring_with({"validate", file.string(), "--json"});
  ASSERT_EQ(line.status, 0);
  EXPECT_EQ(parse_json(line.output, "line").at("recipe_digest"),
            parse_json(yaml.output, "yaml").at("recipe_digest"));
}

TEST(Cli, ARecipeFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(wring_with({"validate", "nowhere/recipe.yaml"}).status, 3);
}

TEST(Cli, AServerThatIsAwayEndsWithStatusFive) {
  EXPECT_EQ(wring_with({"--server", "127.0.0.1:1", "jobs"}).status, 5);
}

TEST(Cli, TheMethodsOfTheCatalogueAreShownWithoutAServer) {
  EXPECT_THAT(wring_with({"methods", "show", "gptq"}).output, HasSubstr("group_size"));
  EXPECT_EQ(wring_with({"methods", "gptqq"}).status, 2);
}

TEST(Cli, EveryVerbHasAnExampleInItsHelp) {
  CliContext context;
  CLI::App app;
  add_verbs(app, context);
  for (auto* verb : app.get_subcommands({}))
    EXPECT_THAT(verb->help(), HasSubstr("Example:\n  wring")) << verb->get_name();
}

TEST(Cli, TheEngineGetsTheArgumentsBehindTheVerbAsTheyWereTyped) {
  CliContext context;
  context.arguments = {"--json", "run", "--local", "rtn(bits=4)", "--model", "m", "--threads", "2"};
  EXPECT_EQ(arguments_after(context, "run", {"--local"}),
            (std::vector<std::string>{"rtn(bits=4)", "--model", "m", "--threads", "2", "--json"}));
}

TEST(Cli, RunWithoutLocalSaysWhatToDo) {
  const auto outcome = wring_with({"run", "rtn(bits=4)", "--model", "m", "--out", "o"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.errors, HasSubstr("--local"));
}

TEST(Cli, ASeedBelowZeroIsAUsageError) {
  for (const char* verb : {"submit", "eval"}) {
    const auto outcome = wring_with({verb, "rtn", "--model", "m", "--seed", "-1"});
    EXPECT_EQ(outcome.status, 2) << verb;
    EXPECT_THAT(outcome.errors, HasSubstr("-1")) << verb;
  }
}

TEST(Cli, ABatchJobThatCannotBeIsRefusedWithTheOptionBeforeItsFolderIsMade) {
  const TempDir folder;
  const auto sweep = folder.path() / "sweep.yaml", out = folder.path() / "out";
  write_file_atomic(sweep, "{recipe: rtn, model: " + folder.path().string() + ", space: {seed: [1, 2]}}");
  for (const auto& [option, value] :
       std::vector<std::pair<std::string, std::string>>{{"--time", "tomorrow"},
                                                        {"--time", "0s"},
                                                        {"--time", "1e15s"},
                                                        {"--worker-memory", "much"},
                                                        {"--sbatch", "--array=0-3"},
                                                        {"--sbatch", "--arr=0-3"},
                                                        {"--sbatch", "script.sh"},
                                                        {"--processes", "3"},
                                                        {"--max-attempts", "5000"}}) {
    const auto outcome =
        wring_with({"sweep", "run", sweep.string(), "--out", out.string(), "--slurm", option + "=" + value});
    EXPECT_EQ(outcome.status, 2) << option;
    EXPECT_THAT(outcome.errors, HasSubstr(option)) << outcome.errors;
    EXPECT_THAT(outcome.errors, HasSubstr(value)) << outcome.errors;
    EXPECT_FALSE(std::filesystem::exists(out)) << option;
  }
}

TEST(Cli, AMethodThatIsNotThereNamesSuitesToo) {
  EXPECT_THAT(wring_with({"methods", "show", "nope"}).errors, HasSubstr("perplexity"));
}

TEST(DataInput, IsANameAndAPath) {
  EXPECT_EQ(parse_data_input("calibration=a=b.txt"),
            (std::pair<std::string, std::string>{"calibration", "a=b.txt"}));
  EXPECT_THROW(parse_data_input("train.txt"), Error);
  EXPECT_THROW(parse_data_input("=train.txt"), Error);
}

TEST(RecipeLabel, IsTheFilesNameOrTheLine) {
  const TempDir folder;
  write_file_atomic(folder.path() / "smollm2-75pct.yaml", "stages: []\n");
  EXPECT_EQ(recipe_label((folder.path() / "smollm2-75pct.yaml").string()), "smollm2-75pct");
  EXPECT_EQ(recipe_label("gptq(bits=4)"), "gptq(bits=4)");
}

}  // namespace
}  // namespace wring

// Items as the data sets and the papers have them, and the arithmetic of paired changes.
#include <gtest/gtest.h>

#include <fstream>

#include "common/error.h"
#include "common/files.h"
#include "engine/eval/choice_items.h"
#include "engine/eval/likelihood.h"

namespace wring {
namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

const Fits kAnyLength = [](const std::string&) { return true; };

FileTree mmlu(const TempDir& folder) {
  write(folder.path() / "data/test/college_maths_test.csv", "1+1?,1,2,3,4,B\n\"2, or 3?\",a,b,c,d,D\n");
  write(folder.path() / "data/test/anatomy_test.csv", "Bone?,w,x,y,z,A\n");
  write(folder.path() / "data/dev/college_maths_dev.csv", "0+0?,0,1,2,3,A\n0+1?,0,1,2,3,B\n");
  return FileTree::on_disk(folder.path());
}

TEST(Mmlu, AsksAsItsAuthorsDoAndTakesSubjectsInTurn) {
  const TempDir folder;
  const auto items = mmlu_letters(mmlu(folder), 5, 2, kAnyLength);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].prompt,
            "The following are multiple choice questions (with answers) about anatomy.\n\n"
            "Bone?\nA. w\nB. x\nC. y\nD. z\nAnswer:");
  EXPECT_EQ(items[1].prompt,
            "The following are multiple choice questions (with answers) about college maths.\n\n"
            "0+0?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: A\n\n0+1?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: B\n\n"
            "1+1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:");
  EXPECT_EQ(items[1].candidates, (std::vector<std::string>{" A", " B", " C", " D"}));
  EXPECT_EQ(items[1].answer, 1u);
  EXPECT_EQ(items[1].group, "college maths");
  EXPECT_EQ(mmlu_letters(mmlu(folder), 5, 0, kAnyLength).size(), 3u);
}

TEST(Mmlu, LeavesExamplesOutUntilThePromptFits) {
  const TempDir folder;
  const auto short_enough = [](const std::string& prompt) { return prompt.size() < 170; };
  const auto items = mmlu_letters(mmlu(folder), 5, 0, short_enough);
  EXPECT_EQ(items[1].prompt.find("0+1?"), std::string::npos);
  EXPECT_NE(items[1].prompt.find("0+0?"), std::string::npos);
}

TEST(Mmlu, AnswersAreTheTextsAfterTheBareQuestion) {
  const TempDir folder;
  const auto items = mmlu_answers(mmlu(folder), 0);
  EXPECT_EQ(items[2].prompt, "Question: 2, or 3?\nAnswer:");
  EXPECT_EQ(items[2].candidates, (std::vector<std::string>{" a", " b", " c", " d"}));
  EXPECT_EQ(items[2].answer, 3u);
}

TEST(Piqa, HasTwoSolutionsAndALabelEach) {
  const TempDir folder;
  write(folder.path() / "valid.jsonl", "{\"goal\":\"Boil\",\"sol1\":\"Heat it\",\"sol2\":\"Cool it\"}\n");
  write(folder.path() / "valid-labels.lst", "0\n");
  const auto items = piqa(FileTree::on_disk(folder.path()), 0);
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].prompt, "Question: Boil\nAnswer:");
  EXPECT_EQ(items[0].candidates, (std::vector<std::string>{" Heat it", " Cool it"}));
  EXPECT_EQ(items[0].answer, 0u);
}

TEST(Items, ThatAreNoneNameTheFile) {
  const auto refused = [](const auto& read, const std::map<std::string, std::string>& files,
                          const std::string& field) {
    const TempDir folder;
    for (const auto& [name, text] : files) write(folder.path() / name, text);
    try {
      read(FileTree::on_disk(folder.path()));
      ADD_FAILURE() << field << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(error.field().find(field), std::string::npos) << error.field();
    }
  };
  const auto letters = [](const FileTree& tree) { return mmlu_letters(tree, 0, 0, kAnyLength); };
  const auto two = [](const FileTree& tree) { return piqa(tree, 0); };
  refused(letters, {{"a_test.csv", "q,1,2,3,4,E\n"}}, "a_test.csv");
  refused(letters, {{"a_test.csv", "q,1,2\n"}}, "a_test.csv");
  refused(letters, {{"a_test.csv", "\"q,1,2\n"}}, "a_test.csv");
  refused(letters, {{"a_test.csv", ""}}, "a_test.csv");
  refused(letters, {{"other.csv", "q,1,2,3,4,A\n"}}, "");
  refused(two, {{"v.jsonl", "{}\n"}, {"v.lst", "0\n1\n"}}, "v.lst");
  refused(two, {{"v.jsonl", "{}\n"}, {"v.lst", "2\n"}}, "v.lst:1");
  refused(two, {{"v.jsonl", "{\"goal\":1}\n"}, {"v.lst", "1\n"}}, "goal");
}

TEST(InventedFacts, AreToldInTheParagraphAndNowhereElse) {
  const auto open = invented_facts(50, 8, true, 3), closed = invented_facts(50, 8, false, 3);
  std::set<std::size_t> places;
  for (std::size_t i = 0; i < open.size(); ++i) {
    const auto& item = open[i];
    ASSERT_EQ(item.candidates.size(), 4u);
    EXPECT_EQ(std::set<std::string>(item.candidates.begin(), item.candidates.end()).size(), 4u);
    const auto asked = item.prompt.find("Question: In which year was the ");
    const auto subject = item.prompt.substr(asked + 32, item.prompt.find(" built?") - asked - 32);
    const auto told =
        item.prompt.find("The " + subject + " was built in" + item.candidates[item.answer] + ".");
    EXPECT_LT(told, asked) << item.prompt;
    EXPECT_EQ(closed[i].prompt, item.prompt.substr(asked));
    EXPECT_EQ(closed[i].candidates, item.candidates);
    places.insert(item.answer);
  }
  EXPECT_EQ(places.size(), 4u);
  EXPECT_EQ(invented_facts(5, 8, true, 3)[4].prompt, open[4].prompt);
  EXPECT_NE(invented_facts(5, 8, true, 4)[4].prompt, open[4].prompt);
}

// scipy.stats.binomtest(k, n).pvalue.
TEST(McNemar, IsTheExactBinomialTest) {
  EXPECT_NEAR(mcnemar_p(0, 0), 1, 1e-12);
  EXPECT_NEAR(mcnemar_p(1, 1), 1, 1e-12);
  EXPECT_NEAR(mcnemar_p(0, 5), 0.0625, 1e-12);
  EXPECT_NEAR(mcnemar_p(9, 1), 0.021484375, 1e-12);
  EXPECT_NEAR(mcnemar_p(40, 60), 0.05688793364098089, 1e-10);
}

}  // namespace
}  // namespace wring

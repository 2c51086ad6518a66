// Levels: stages as a parameter, in one normal form, and nothing that a layer alone cannot become.
#include "recipe/levels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Json levels(const Json& given) {
  return check_levels(given, "levels", Source{});
}

TEST(Levels, HaveOneNormalFormHoweverTheyAreWritten) {
  const Json line = levels("gptq(bits=3, group_size=32) | rtn(bits=8, targets=Embedding)");
  EXPECT_EQ(levels({"gptq(bits=3, group_size=32)", "rtn(bits=8, targets=Embedding)"}), line);
  EXPECT_EQ(levels({{{"method", "gptq"}, {"params", {{"bits", 3}, {"group_size", 32}}}},
                    {{"method", "rtn"}, {"params", {{"bits", 8}}}, {"targets", "Embedding"}}}),
            line);
  EXPECT_EQ(levels(line), line) << "the normal form itself";
  EXPECT_EQ(line[0]["version"], Catalogue::embedded().find("gptq")->version);
  EXPECT_EQ(line[1]["targets"], Json({"Embedding"}));
}

TEST(Levels, SayNothingOfTheCalibration) {
  EXPECT_FALSE(levels("gptq")[0]["params"].contains("samples"));
  const auto error = thrown_by([] { levels("gptq(samples=16)"); });
  EXPECT_EQ(error.field(), "levels[0].params.samples");
  EXPECT_THAT(error.hint(), HasSubstr("beside the levels"));
}

TEST(Levels, AreOfMethodsThatGoLayerByLayerOnTheHessianAlone) {
  std::set<std::string> all;
  for (const auto* method : Catalogue::embedded().methods())
    if (can_be_level(*method)) all.insert(method->name);
  EXPECT_THAT(all, ElementsAre("fp4", "fp8", "gptq", "gptq-float", "magnitude", "rtn", "sparsegpt", "svd"));
  for (const auto& name : all) EXPECT_NO_THROW(levels(name)) << name;
  for (const char* no :
       {"wanda", "eora", "mixed-levels", "block-drop", "round-inputs", "bitstack", "fit-size"})
    EXPECT_EQ(thrown_by([&] { levels(no); }).reason(), "NO_LEVEL") << no;
}

TEST(Levels, ThatAreNoneAreRefusedWithTheField) {
  EXPECT_EQ(thrown_by([] { levels(Json::array()); }).field(), "levels");
  EXPECT_EQ(thrown_by([] { levels(3); }).reason(), "WRONG_TYPE");
  EXPECT_EQ(thrown_by([] { levels({"rtn", "gptq(bits=9)"}); }).field(), "levels[1].params.bits");
}

TEST(CallText, HoldsWhatIsNotTheDefault) {
  const auto level = levels_of(levels("gptq(bits=3, group_size=32)")).at(0);
  EXPECT_EQ(call_text(*Catalogue::embedded().find("gptq"), level.params), "gptq(bits=3, group_size=32)");
}

}  // namespace
}  // namespace wring

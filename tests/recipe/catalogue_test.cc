// The catalogue: every embedded spec is whole and true to its own rules; broken specs are refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/error.h"
#include "recipe/levels.h"
#include "recipe/recipe.h"
#include "recipe/spec.h"

namespace wring {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

std::vector<const MethodSpec*> all_specs() {
  auto specs = Catalogue::embedded().methods();
  for (const auto* suite : Catalogue::embedded().suites()) specs.push_back(suite);
  return specs;
}

TEST(Catalogue, HoldsTheMethodsAndSuitesOfThisRelease) {
  std::vector<std::string> names;
  for (const auto* spec : all_specs()) names.push_back(spec->name);
  EXPECT_THAT(names, IsSupersetOf({"gptq", "latency", "magnitude", "perplexity", "rtn", "sample",
                                   "similarity", "size", "sparsegpt", "wanda"}));
}

TEST(Catalogue, EverySpecIsWhole) {
  for (const auto* spec : all_specs()) {
    SCOPED_TRACE(spec->name);
    EXPECT_EQ(parse_method_spec(spec->text).to_json(), spec->to_json());
    EXPECT_GE(spec->version, 1u);
    EXPECT_THAT(spec->summary, Not(IsEmpty()));
    EXPECT_THAT(spec->takes, Not(IsEmpty()));
    EXPECT_THAT(spec->determinism, AnyOf("any-threads", "equal-threads", "none"));
    if (spec->kind != "evaluation") {
      EXPECT_THAT(spec->produces, Not(IsEmpty()));
      EXPECT_THAT(spec->papers, Not(IsEmpty()));
    }
    for (const auto& parameter : spec->parameters)
      EXPECT_THAT(parameter.help, Not(IsEmpty())) << parameter.name;
  }
}

TEST(Catalogue, EveryDefaultIsValidByItsOwnRules) {
  for (const auto* spec : all_specs()) {
    SCOPED_TRACE(spec->name);
    const std::string list = spec->kind == "evaluation" ? "evaluations" : "stages";
    const Recipe recipe = parse_recipe(list + ": [" + spec->name + "]");
    const Json& params =
        spec->kind == "evaluation" ? recipe.evaluations.at(0).params : recipe.stages.at(0).params;
    for (const auto& p : spec->parameters) {
      if (p.type == "stages")  // whose normal form says more
        EXPECT_EQ(params.at(p.name), check_levels(p.default_value, p.name, Source{}));
      else
        EXPECT_EQ(params.at(p.name), p.default_value) << p.name;
    }
  }
}

TEST(Catalogue, EveryValueJustOutsideARangeIsRefused) {
  int bounds = 0;
  const auto refused = [](const MethodSpec& spec, const std::string& parameter, double value) {
    const std::string list = spec.kind == "evaluation" ? "evaluations" : "stages";
    const Json stage{{list == "stages" ? "method" : "suite", spec.name}, {"params", {{parameter, value}}}};
    try {
      (void)parse_recipe(Json{{list, Json::array({stage})}}.dump(1));
    } catch (const Error& error) {
      return error.reason() == "OUT_OF_RANGE";
    }
    return false;
  };
  for (const auto* spec : all_specs())
    for (const auto& p : spec->parameters) {
      EXPECT_TRUE(!p.minimum || refused(*spec, p.name, *p.minimum - 1)) << spec->name << "." << p.name;
      EXPECT_TRUE(!p.maximum || refused(*spec, p.name, *p.maximum + 1)) << spec->name << "." << p.name;
      bounds += p.minimum.has_value() + p.maximum.has_value();
    }
  EXPECT_GT(bounds, 20);
}

TEST(Catalogue, MethodsThatReadDataNeedItAndSayWhich) {
  for (const auto* spec : all_specs()) {
    bool reads = false;
    for (const auto& p : spec->parameters) reads = reads || p.type == "data";
    const bool needs = std::any_of(spec->needs.begin(), spec->needs.end(),
                                   [](const auto& need) { return need != "reference"; });  // that is a model
    EXPECT_EQ(reads, needs) << spec->name;
  }
}

Error refusal(const std::string& yaml) {
  try {
    (void)parse_method_spec(yaml);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "was taken: " << yaml;
  return Error(ErrorCode::kUnknown, "NOTHING", "nothing was thrown");
}

TEST(MethodSpec, ThatLacksAMemberOrHasAnUnknownTypeIsRefusedByName) {
  const std::string head = "{name: m, version: 1, kind: sparse, summary: s, takes: [encoder]";
  EXPECT_THAT(refusal(head + "}").what(), HasSubstr("determinism"));
  EXPECT_THAT(refusal(head + ", determinism: none, parameters: {p: {type: number}}}").what(),
              HasSubstr("help"));
  const Error type = refusal(head + ", determinism: none, parameters: {p: {type: colour, help: h}}}");
  EXPECT_EQ(type.reason(), "BAD_SPEC");
  EXPECT_EQ(type.field(), "m.parameters.p.type");
}

TEST(Catalogue, OfTwoSpecsOfOneNameIsRefusedAndItsDigestIsThatOfItsContents) {
  const auto spec = [](const std::string& name, const std::string& summary) {
    return parse_method_spec("{name: " + name + ", version: 1, kind: sparse, summary: " + summary +
                             ", takes: [encoder], determinism: none}");
  };
  EXPECT_THROW(Catalogue({spec("a", "s"), spec("a", "t")}), Error);
  EXPECT_EQ(Catalogue({spec("a", "s"), spec("b", "s")}).digest(),
            Catalogue({spec("b", "s"), spec("a", "s")}).digest());
  EXPECT_NE(Catalogue({spec("a", "s")}).digest(), Catalogue({spec("a", "t")}).digest());
}

}  // namespace
}  // namespace wring

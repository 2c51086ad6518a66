// Any bytes as a goal: refused with an Error, or it says what is best, and its suites fit into a recipe.
#include "recipe/goal.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const Goal goal = parse_goal(std::string(fuzz::text_of(data, size)), "goal");
    fuzz::require(!goal.objectives.empty());
    for (const auto& bound : goal.constraints) fuzz::require(bound.minimum || bound.maximum);
    (void)parse_recipe(with_suites(Json::object(), goal).dump());
  });
}

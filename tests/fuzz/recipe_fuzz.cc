// Any bytes as a recipe: refused with an Error, or its normal form reads back as the same recipe.
#include "recipe/recipe.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const Recipe recipe = parse_recipe(fuzz::text_of(data, size));
    const Json form = parse_json(recipe.normal_form().dump(), "normal form");
    const Recipe again = recipe_from_normal_form(form);
    fuzz::require(again.normal_form() == form);
    fuzz::require(again.digest() == recipe.digest());
    (void)recipe.data_names();
  });
}

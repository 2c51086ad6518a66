// Any bytes as a sweep: refused with an Error, or every point of it that is looked at becomes a recipe or is
// refused.
#include "recipe/sweep.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] {
    const auto text = fuzz::text_of(data, size);
    const Sweep sweep = parse_sweep(text);
    fuzz::require(!sweep.space.dimensions.empty());
    for (const double at : {0.0, 0.3, 0.7, 0x1.fffffffffffffp-1}) {
      const Coordinates point(sweep.space.dimensions.size(), at);
      fuzz::require(sweep.space.values(sweep.space.snapped(point)) == sweep.space.values(point));
      const auto trial = trial_of(sweep, sweep.space.values(point));
      (void)parse_recipe(trial.recipe);
    }
    (void)read_sweep(text);
  });
}

// Levels: stages of which each layer takes one, as a parameter of a method or suite.
#pragma once

#include <string>
#include <vector>

#include "common/json.h"
#include "recipe/check.h"
#include "recipe/recipe.h"

namespace wring {

// Whether a method can be a level: it goes layer by layer, and learns of layers' inputs their Hessian at
// most.
bool can_be_level(const MethodSpec& spec);

// The list in its normal form, [{method, version, params, targets, ignore}]: `given` is a list of stages or
// one line of them ("rtn(bits=8) | gptq(bits=3)"), 1 to 100. What a stage says of its calibration data is not
// a level's to say, and left out. Throws Error(kInvalidArgument) as parse_recipe() does, or NO_LEVEL.
Json check_levels(const Json& given, const std::string& field, const Source& source,
                  const Catalogue& catalogue = Catalogue::embedded());

// Of the normal form.
std::vector<StageSpec> levels_of(const Json& normal_form);

// "gptq(bits=3, group_size=32)": the call with the parameters that are not the default.
std::string call_text(const MethodSpec& spec, const Json& params);

}  // namespace wring

// Recipes of llm-compressor, which list modifiers by stage, as recipes of this project.
#pragma once

#include "common/json.h"
#include "recipe/check.h"

namespace wring {

// Whether `json` is one: {"NAME_stage": {"NAME_modifiers": {"GPTQModifier": {...}}}}, or modifiers at the
// top.
bool is_modifier_recipe(const Json& json);

// {"stages": [...]} in the order of the lines. Adds the modifiers' lines to source.lines under the stages'
// paths. Known are GPTQModifier, QuantizationModifier, AWQModifier, SparseGPTModifier and
// WandaPruningModifier with the schemes that gptq, gptq-float, rtn, fp8, fp4 and round-inputs can hold.
// Throws Error(kUnimplemented, "UNSUPPORTED_MODIFIER") that names what has no counterpart, or what
// check_keys() does.
Json stages_of_modifiers(const Json& json, Source& source);

}  // namespace wring

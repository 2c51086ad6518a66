// A recipe as it is typed: the path of a YAML file, or the recipe itself.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace wring {

// The recipe's text. A file that exists wins; a text that looks like a path and is none throws
// Error(kNotFound, "NO_SUCH_RECIPE").
std::string read_recipe(const std::string& recipe_or_file);

// The name of a job that runs it: the file's name without its ending, or the line itself, cut at 60
// characters.
std::string recipe_label(const std::string& recipe_or_file);

// Throws Error(kInvalidArgument, "UNKNOWN_DATA") about `field` where `known`, the data that a recipe reads,
// has no `name`.
void check_data_name(const std::string& name, const std::vector<std::string>& known,
                     const std::string& field);
// Throws Error(kInvalidArgument, "MISSING_DATA") about `field` and the name, where a recipe that reads
// `known` was not handed one of them; `handed_in` says which were.
void check_data_is_there(const std::vector<std::string>& known,
                         const std::function<bool(const std::string&)>& handed_in, const std::string& field);
// Whether data of this name may be handed to a recipe that reads none of it: scripts give every recipe the
// same ones.
bool is_usual_data(const std::string& name);

// A recipe that only evaluates. `parameters` of the suite as NAME=VALUE. Throws Error(kInvalidArgument,
// "BAD_PARAMETER").
std::string evaluation_recipe(const std::string& suite, const std::vector<std::string>& parameters);

}  // namespace wring

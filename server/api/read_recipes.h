// Recipes by their text, read once: the jobs of one recipe differ in model, data or seed.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "recipe/recipe.h"

namespace wring {

struct ReadRecipe {
  Recipe recipe;
  std::string normal_form;  // its JSON
  std::string digest;       // in hex
};

// Any thread may call it.
class ReadRecipes {
 public:
  // Throws as parse_recipe(); what was refused is read again.
  std::shared_ptr<const ReadRecipe> of(const std::string& text);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const ReadRecipe>> known_;
};

}  // namespace wring

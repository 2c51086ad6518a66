// Parsing, and filling in what the specs say, is the largest part of a submit that depends on its recipe
// alone.
#include "server/api/read_recipes.h"

#include <utility>

namespace wring {
namespace {

constexpr std::size_t kRemembered = 256;
constexpr std::size_t kLongest = 16'384;  // bytes

}  // namespace

std::shared_ptr<const ReadRecipe> ReadRecipes::of(const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = known_.find(text); known != known_.end()) return known->second;
  }
  auto read = std::make_shared<ReadRecipe>();
  read->recipe = parse_recipe(text);
  Json form = read->recipe.normal_form();
  read->normal_form = form.dump();
  read->digest = recipe_digest(std::move(form)).hex();
  if (text.size() > kLongest) return read;
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kRemembered) known_.clear();
  return known_.emplace(text, std::move(read)).first->second;
}

}  // namespace wring

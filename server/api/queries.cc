// Reading the catalogue and the rows.
#include "server/api/queries.h"

#include "common/error.h"
#include "common/text.h"
#include "recipe/recipe.h"
#include "server/api/messages.h"

namespace wring {
namespace {

v1::Method to_message(const MethodSpec& spec) {
  v1::Method method;
  method.set_name(spec.name);
  method.set_version(spec.version);
  method.set_kind(spec.kind);
  method.set_summary(spec.summary);
  method.set_spec_json(spec.to_json().dump());
  return method;
}

std::vector<const MethodSpec*> all_specs() {
  auto specs = Catalogue::embedded().methods();
  const auto suites = Catalogue::embedded().suites();
  specs.insert(specs.end(), suites.begin(), suites.end());
  return specs;
}

}  // namespace

v1::ListMethodsResponse list_methods() {
  v1::ListMethodsResponse response;
  for (const auto* spec : all_specs()) *response.add_methods() = to_message(*spec);
  response.set_catalogue_digest(Catalogue::embedded().digest().hex());
  return response;
}

v1::Method get_method(const std::string& name) {
  if (const auto* spec = Catalogue::embedded().find(name)) return to_message(*spec);
  std::vector<std::string> names;
  for (const auto* spec : all_specs()) names.push_back(spec->name);
  const auto nearest = nearest_name(name, names);
  throw Error(ErrorCode::kNotFound, "UNKNOWN_METHOD",
              "there is no method '" + name.substr(0, 80) + "'" +
                  (nearest.empty() ? "" : "; the nearest is " + nearest),
              "name",
              nearest.empty() ? "Known: " + join(names, ", ") + "." : "Do you mean '" + nearest + "'?");
}

v1::ValidateRecipeResponse validate_recipe(const std::string& text) {
  const Recipe recipe = parse_recipe(text);
  v1::ValidateRecipeResponse response;
  response.set_normal_form_json(recipe.normal_form().dump());
  response.set_recipe_digest(recipe.digest().hex());
  return response;
}

v1::QueryEvaluationsResponse query_evaluations(const v1::QueryEvaluationsRequest& request, JobStore& store) {
  EvaluationFilter filter;
  filter.limit = page_size(request.page_size(), 100, 1000);
  filter.after_row = static_cast<std::int64_t>(parse_page_token(request.page_token()));
  if (!request.job_id().empty()) filter.job = store.resolve_job(request.job_id());
  filter.artifact = request.artifact();
  filter.suite = request.suite();
  filter.metric = request.metric();
  auto page = store.evaluations(filter);
  v1::QueryEvaluationsResponse response;
  for (auto& row : page.rows) *response.add_evaluations() = std::move(row);
  if (response.evaluations_size() == filter.limit)
    response.set_next_page_token(page_token(static_cast<std::uint64_t>(page.last_row)));
  return response;
}

}  // namespace wring

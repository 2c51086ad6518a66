// Reading the catalogue and the rows.
#include "server/api/queries.h"

#include <algorithm>

#include "common/error.h"
#include "recipe/recipe.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"

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
  for (const auto& more : {Catalogue::embedded().suites(), Catalogue::embedded().formats()})
    specs.insert(specs.end(), more.begin(), more.end());
  return specs;
}

}  // namespace

v1::ListMethodsResponse list_methods(const v1::ListMethodsRequest& request) {
  const auto limit = static_cast<std::uint64_t>(page_size(request.page_size(), 50, 1000));
  const auto specs = all_specs();
  const PageTokens tokens(request, {}, Catalogue::embedded().digest().hex());  // a list of no secrets
  const std::uint64_t from = std::min<std::uint64_t>(tokens.position(), specs.size()),
                      to = std::min<std::uint64_t>(from + limit, specs.size());
  v1::ListMethodsResponse response;
  for (auto i = from; i < to; ++i) *response.add_methods() = to_message(*specs[i]);
  if (to < specs.size()) response.set_next_page_token(tokens.token(to));
  response.set_catalogue_digest(Catalogue::embedded().digest().hex());
  return response;
}

v1::Method get_method(const std::string& name) {
  try {
    return to_message(Catalogue::embedded().any(name, "name"));
  } catch (const Error& error) {
    throw Error(ErrorCode::kNotFound, error.reason(), error.message(), error.field(), error.hint());
  }
}

v1::ValidateRecipeResponse validate_recipe(const std::string& text) {
  const Recipe recipe = parse_recipe(text);
  v1::ValidateRecipeResponse response;
  response.set_normal_form_json(recipe.normal_form().dump());
  response.set_recipe_digest(recipe.digest().hex());
  for (const auto& name : recipe.data_names()) response.add_data_names(name);
  return response;
}

v1::QueryEvaluationsResponse query_evaluations(const v1::QueryEvaluationsRequest& request, JobStore& store,
                                               const Within& project) {
  EvaluationFilter filter;
  filter.limit = page_size(request.page_size(), 100, 1000);
  const PageTokens tokens(request, project, store.page_key());
  filter.after_row = static_cast<std::int64_t>(tokens.position());
  if (!request.job_id().empty()) filter.job = store.resolve_job(request.job_id(), project);
  filter.project = project;
  filter.artifact = request.artifact();
  filter.suite = request.suite();
  filter.metric = request.metric();
  auto page = store.evaluations(filter);
  v1::QueryEvaluationsResponse response;
  for (auto& row : page.rows) *response.add_evaluations() = std::move(row);
  if (response.evaluations_size() == filter.limit)
    response.set_next_page_token(tokens.token(static_cast<std::uint64_t>(page.last_row)));
  return response;
}

}  // namespace wring

// What is only read: the catalogue of methods, and evaluation rows.
#pragma once

#include "server/store/job_store.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/methods.pb.h"

namespace wring {

v1::ListMethodsResponse list_methods(
    const v1::ListMethodsRequest& request);      // methods, suites, export formats; each by name
v1::Method get_method(const std::string& name);  // throws kNotFound, with the nearest known name as hint
v1::ValidateRecipeResponse validate_recipe(const std::string& recipe);  // throws as parse_recipe

// Of the project's jobs.
v1::QueryEvaluationsResponse query_evaluations(const v1::QueryEvaluationsRequest& request, JobStore& store,
                                               const Within& project);

}  // namespace wring

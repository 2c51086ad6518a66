// HTTP paths to the same back end as gRPC.
#include "server/http/routes.h"

#include <memory>
#include <sstream>

#include "common/clock.h"
#include "common/error.h"
#include "common/json.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/queries.h"
#include "server/http/artifact_file.h"
#include "server/http/etag.h"
#include "server/http/guard.h"
#include "server/http/message_json.h"
#include "server/http/page.h"
#include "server/http/session.h"
#include "server/http/sweep_routes.h"
#include "server/http/target.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/methods.pb.h"

namespace wring {
namespace {

[[noreturn]] void throw_no_such_path() {
  throw Error(ErrorCode::kNotFound, "NO_SUCH_PATH", "there is nothing at this path");
}

[[noreturn]] void throw_method(const char* allowed) {
  throw Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED", "this path does not answer to that method", "",
              allowed);
}

template <typename List>
std::string joined(const List& messages) {
  std::string body = "[";
  for (const auto& message : messages) {
    if (body.size() > 1) body += ',';
    body += json(message).body;
  }
  return body + "]";
}

v1::JobState parse_state(const std::string& name) {
  v1::JobState state;
  std::string upper = "JOB_STATE_";
  for (const char c : name) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (!v1::JobState_Parse(upper, &state))
    throw Error(ErrorCode::kInvalidArgument, "BAD_STATE", "'" + name.substr(0, 40) + "' is no state", "state",
                "Any of queued, running, cancelling, succeeded, failed, cancelled, with commas between.");
  return state;
}

v1::ListJobsResponse jobs(const Backend& b, const Within& within, const Target& t) {
  v1::ListJobsRequest request;
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  request.set_name_contains(t.get("name_contains"));
  request.set_project(t.get("project"));
  std::istringstream states(t.get("state"));
  for (std::string state; std::getline(states, state, ',');) request.add_states(parse_state(state));
  return b.coordinator.list(within, request);
}

HttpResponse one_job(const Backend& b, const Within& within, const HttpRequest& request, const Target& t,
                     const std::string& rest) {
  const auto slash = rest.find('/');
  if (slash == std::string::npos) return tagged(request, b.coordinator.job(within, rest));
  if (rest.substr(slash) != "/events") throw_no_such_path();
  const auto body =
      "{\"events\":" +
      joined(b.coordinator.events(within, rest.substr(0, slash), t.number("after", 0),
                                  static_cast<int>(std::min<std::uint64_t>(t.number("limit", 1000), 1000)))) +
      "}";
  auto response = with_tag(request, etag_of(body));
  if (response.status != 304) response.body = body;
  return response;
}

v1::QueryEvaluationsResponse evaluations(const Backend& b, const Within& within, const Target& t) {
  v1::QueryEvaluationsRequest request;
  request.set_job_id(t.get("job"));
  request.set_artifact(t.get("artifact"));
  request.set_suite(t.get("suite"));
  request.set_metric(t.get("metric"));
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return query_evaluations(request, b.store, within);
}

v1::ListArtifactsResponse artifacts(const Backend& b, const Within& within, const Target& t) {
  v1::ListArtifactsRequest request;
  request.set_kind(t.get("kind"));
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return list_artifacts(request, b.store, within);
}

v1::ListWorkersResponse workers(const Backend& b, const Within& within, const Target& t) {
  v1::ListWorkersRequest request;
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return b.coordinator.list(within, request);
}

v1::ListProjectsResponse projects(const Backend& b, const Within& within, const Target& t) {
  v1::ListProjectsRequest request;
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return b.coordinator.list(within, request);
}

v1::ListMethodsResponse methods(const Target& t) {
  v1::ListMethodsRequest request;
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return list_methods(request);
}

HttpResponse one_artifact(const Backend& b, const Within& within, const HttpRequest& request,
                          const std::string& rest) {
  const auto slash = rest.find('/');
  const auto artifact = get_artifact(rest.substr(0, slash), b.store, within);
  if (slash == std::string::npos) return tagged(request, artifact);
  constexpr std::string_view files = "/files/";
  const auto path = rest.substr(slash);
  if (!path.starts_with(files)) throw_no_such_path();
  return artifact_file(request, Manifest::parse(artifact.manifest_json()), path.substr(files.size()),
                       b.blobs);
}

// The method of the API that a GET stands for; empty: there is no such path.
std::string_view read_method(const std::string& path) {
  constexpr std::pair<std::string_view, std::string_view> kMethods[] = {
      {"/api/v1/jobs", "Jobs/ListJobs"},
      {"/api/v1/jobs/", "Jobs/GetJob"},
      {"/api/v1/evaluations", "Evaluations/QueryEvaluations"},
      {"/api/v1/artifacts", "Artifacts/ListArtifacts"},
      {"/api/v1/artifacts/", "Artifacts/GetArtifact"},
      {"/api/v1/workers", "Workers/ListWorkers"},
      {"/api/v1/projects", "Projects/ListProjects"},
      {"/api/v1/methods", "Methods/ListMethods"},
      {"/api/v1/methods/", "Methods/GetMethod"},
  };
  for (const auto& [known, method] : kMethods)
    if (known.ends_with('/') ? path.starts_with(known) : path == known) return method;
  return sweep_read_method(path);
}

// What changes nothing.
HttpResponse read(const Backend& b, const Within& within, const HttpRequest& request, const Target& t) {
  const auto below = [&](std::string_view folder) { return t.path.starts_with(folder); };
  const auto rest = [&](std::string_view folder) { return t.path.substr(folder.size()); };
  if (t.path == "/api/v1/jobs") return tagged(request, jobs(b, within, t));
  if (below("/api/v1/jobs/")) return one_job(b, within, request, t, rest("/api/v1/jobs/"));
  if (t.path == "/api/v1/evaluations") return tagged(request, evaluations(b, within, t));
  if (t.path == "/api/v1/artifacts") return tagged(request, artifacts(b, within, t));
  if (below("/api/v1/artifacts/")) return one_artifact(b, within, request, rest("/api/v1/artifacts/"));
  if (t.path == "/api/v1/workers") return tagged(request, workers(b, within, t));
  if (t.path == "/api/v1/projects") return tagged(request, projects(b, within, t));
  if (below("/api/v1/sweeps")) return read_sweeps(b, within, request, t);
  if (t.path == "/api/v1/methods") return tagged(request, methods(t));
  return tagged(request, get_method(rest("/api/v1/methods/")));
}

// What changes something, or has a body: a path that ends with a verb, and the method that it stands for.
std::string_view call_method(const std::string& path) {
  if (path == "/api/v1/jobs") return "Jobs/SubmitJob";
  if (path == "/api/v1/recipes/validate") return "Methods/ValidateRecipe";
  if (const auto method = sweep_call_method(path); !method.empty()) return method;
  if (!path.starts_with("/api/v1/jobs/")) return "";
  if (path.ends_with("/cancel")) return "Jobs/CancelJob";
  if (path.ends_with("/retry")) return "Jobs/RetryJob";
  return "";
}

HttpResponse call(const Backend& b, Door::Visit& visit, const std::string& path, const std::string& body) {
  const std::string_view method = visit.access->method;
  const Within& within = visit.caller.project;
  if (method.starts_with("Sweeps/")) return call_sweeps(b, visit, path, body);
  if (method == "Methods/ValidateRecipe")
    return json(validate_recipe(parse<v1::ValidateRecipeRequest>(body).recipe()));
  v1::Job job;
  if (method == "Jobs/SubmitJob") {
    job = b.coordinator.submit(within, parse<v1::SubmitJobRequest>(body));
  } else {
    constexpr std::size_t jobs = sizeof("/api/v1/jobs/") - 1;
    visit.object = path.substr(jobs, path.rfind('/') - jobs);
    job = method == "Jobs/CancelJob"
              ? b.coordinator.cancel(within, visit.object, parse<v1::CancelJobRequest>(body).etag())
              : b.coordinator.retry(within, visit.object, parse<v1::RetryJobRequest>(body).etag());
  }
  visit.object = job.id();
  return json(job);
}

// GET of a path to which a POST submits.
bool lists(std::string_view method) {
  return method == "Jobs/ListJobs" || method == "Sweeps/ListSweeps";
}

// Through the door, as every call.
template <typename Body>
HttpResponse let_in(const Backend& b, std::string_view method, const HttpRequest& request, Body body) {
  HttpResponse response;
  b.door.call(method, credentials_of(request), [&](Door::Visit& visit) { response = body(visit); });
  return response;
}

// Probes call it by any name, and it says nothing. The figures are of all projects together.
std::optional<HttpResponse> watch_over(const Backend& b, const RouteOptions& options,
                                       const HttpRequest& request, const std::string& path) {
  if (path == "/healthz") {
    Json health{{"status", "ok"}};
    if (options.provisioner) health["provisioner"] = options.provisioner();
    return HttpResponse{200, "application/json", health.dump(), {}, {}};
  }
  if (path != "/metrics") return std::nullopt;
  if (const Caller caller = b.door.identify(credentials_of(request)); !caller.project.empty())
    throw Error(ErrorCode::kPermissionDenied, "SCOPE", "the figures are of all projects", "",
                "Ask an admin for a token of all projects (wring tokens create --all-projects).");
  return HttpResponse{200, "text/plain; version=0.0.4", b.metrics.text(), {}, {}};
}

HttpResponse route(const Backend& b, const RouteOptions& options, const Page& page,
                   const HttpRequest& request) {
  const Target t = parse_target(request.target);
  const bool post = request.method == "POST";
  if (auto response = watch_over(b, options, request, t.path)) {
    if (post) throw_method("GET, HEAD");
    return std::move(*response);
  }
  check_host(request, options.names);
  const auto called = call_method(t.path);
  if (post) {
    if (called.empty() && !is_session(t.path)) throw_method("GET, HEAD");
    check_same_site(request);
    if (is_session(t.path)) return change_session(b.door, request, t.path);
    return let_in(b, called, request, [&](auto& visit) { return call(b, visit, t.path, request.body); });
  }
  if (is_session(t.path)) return show_session(b.door, request, t.path);
  const auto method = read_method(t.path);
  if (!called.empty() && !lists(method)) throw_method("POST");
  if (!method.empty())
    return let_in(b, method, request, [&](auto& visit) { return read(b, visit.caller.project, request, t); });
  if (auto response = page.answer(request, t.path)) return std::move(*response);
  throw_no_such_path();
}

// The name of a path in metrics: one of few, whatever is asked for.
std::string name_of_route(const HttpRequest& request) {
  const std::string path = parse_target(request.target).path;
  const auto method = request.method == "POST" ? call_method(path) : read_method(path);
  if (!method.empty()) return std::string(method.substr(method.find('/') + 1));
  if (is_session(path)) return "session";
  if (path == "/healthz" || path == "/metrics") return path.substr(1);
  return "page";
}

// Also of a request that throws.
class Timed {
 public:
  Timed(Metrics& metrics, const HttpRequest& request) : metrics_(metrics), route_(name_of_route(request)) {}
  ~Timed() { metrics_.http_took(route_, watch_.seconds()); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Metrics& metrics_;
  const std::string route_;
  const Stopwatch watch_;
};

}  // namespace

HttpHandler make_routes(Backend backend, RouteOptions options) {
  const auto page = std::make_shared<const Page>(options.page);
  return [backend, options = std::move(options), page](const HttpRequest& request) {
    const Timed timed(backend.metrics, request);
    return route(backend, options, *page, request);
  };
}

}  // namespace wring

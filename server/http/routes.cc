// HTTP paths to the same calls as gRPC's.
#include "server/http/routes.h"

#include <memory>

#include "common/clock.h"
#include "common/error.h"
#include "common/json.h"
#include "server/api/artifact_catalogue.h"
#include "server/http/artifact_file.h"
#include "server/http/blobs.h"
#include "server/http/etag.h"
#include "server/http/guard.h"
#include "server/http/message_json.h"
#include "server/http/openapi.h"
#include "server/http/pack.h"
#include "server/http/page.h"
#include "server/http/recent_answers.h"
#include "server/http/rules.h"
#include "server/http/session.h"
#include "server/http/target.h"

namespace wring {
namespace {

constexpr const char* kOpenApi = "/api/v1/openapi.json";

[[noreturn]] void throw_no_such_path() {
  throw Error(ErrorCode::kNotFound, "NO_SUCH_PATH", "there is nothing at this path");
}

[[noreturn]] void throw_method(const std::string& allowed) {
  throw Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED", "this path does not answer to that method", "",
              allowed);
}

bool is_read(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

// Through the door, as every call.
template <typename Body>
HttpResponse let_in(const Backend& b, std::string_view method, const HttpRequest& request, Body body) {
  HttpResponse response;
  b.door.call(method, credentials_of(request), [&](Door::Visit& visit) { response = body(visit); });
  return response;
}

// Of all that calls about jobs answer with.
std::uint64_t version_of(const Backend& b) {
  return b.store.commits() + b.coordinator.progress_heard();
}

// What the rule's call answers. Those that stream over gRPC are a request a piece here.
HttpResponse answer(const Backend& b, RecentAnswers& recent, const HttpRule& rule, const HttpRequest& request,
                    const Target& target, Door::Visit& visit) {
  const bool is_poll = is_read(request) && rule.name.starts_with("Jobs/");
  const auto version = version_of(b);
  std::string question;
  if (is_poll) {
    question = visit.caller.project + " " + request.method +
               (takes_gzip(request.accept_encoding) ? " gzip " : " ") + request.target;
    const auto known = recent.find(question, version, b.clock.now_ms());
    if (known && has_etag(request, known->tag))
      return tagged(request, known->tag, [] { return std::string(); });
    if (known && known->whole) return *known->whole;
  }
  if (visit.access->audited)
    b.store.check_space();  // a change would hold one of few threads until there is some
  const auto message = request_of(rule, target, request.body);
  if (rule.raw_body) return json(write_blob(b, visit, static_cast<v1::WriteBlobRequest&>(*message)));
  if (rule.raw_response) return read_blob(b, visit, static_cast<v1::ReadBlobRequest&>(*message));
  const Call* const call = find_call(rule.name);
  if (!call) throw Error(ErrorCode::kInternal, "BAD_HTTP_RULE", rule.name + " is no call");
  const auto response = new_message(*call->response);
  std::vector<std::string> missing;
  try {
    call->run(b, visit, *message, *response, missing);
  } catch (const Error& error) {
    if (missing.empty()) throw;
    return problem_of(error, missing);
  }
  if (!is_read(request)) return packed(request, json(*response));
  const std::string tag = tag_of(*response);
  HttpResponse reply = tagged(request, tag, [&] { return json(*response).body; });
  if (is_poll)
    recent.put(question, version, b.clock.now_ms(),
               {tag, reply.status == 200 ? std::make_shared<HttpResponse>(reply) : nullptr});
  return reply;
}

// A file of an artifact: the one path below a call's that is no call of its own.
struct FilePath {
  std::string digest, path;
};
std::optional<FilePath> file_path(const std::string& path) {
  constexpr std::string_view artifacts = "/api/v1/artifacts/", files = "/files/";
  if (!path.starts_with(artifacts)) return std::nullopt;
  const auto slash = path.find('/', artifacts.size());
  if (slash == std::string::npos || path.compare(slash, files.size(), files) != 0) return std::nullopt;
  return FilePath{path.substr(artifacts.size(), slash - artifacts.size()), path.substr(slash + files.size())};
}

// Probes call it by any name, and it says nothing. The figures are of all projects together.
std::optional<HttpResponse> watch_over(const Backend& b, const RouteOptions& options,
                                       const HttpRequest& request, const std::string& path) {
  if (path == "/healthz" || path == "/readyz") {
    Json health{{"status", "ok"}};
    if (options.provisioner) health["provisioner"] = options.provisioner();
    return HttpResponse{200, "application/json", health.dump(), {}, {}};
  }
  if (path != "/metrics") return std::nullopt;
  if (b.door.is_open()) check_host(request, options.names);  // with tokens a foreign page has none
  if (const Caller caller = b.door.identify(credentials_of(request)); !caller.project.empty())
    throw Error(ErrorCode::kPermissionDenied, "SCOPE", "the figures are of all projects", "",
                "Ask an admin for a token of all projects (wring tokens create --all-projects).");
  const auto disk = b.blobs.disk();
  b.metrics.storage(b.store.stored_bytes({}), disk.available, disk.capacity);
  return HttpResponse{200, "text/plain; version=0.0.4", b.metrics.text(), {}, {}};
}

// Paths that stand in no proto. nullopt: it is none of them.
std::optional<HttpResponse> beside_the_calls(const Backend& b, const Page& page, const HttpRequest& request,
                                             const std::string& path) {
  if (is_session(path)) {
    if (is_read(request)) return show_session(b.door, request, path);
    if (request.method != "POST") throw_method("GET, HEAD, POST");
    check_same_site(request, "application/json");
    return change_session(b.door, request, path);
  }
  const auto file = file_path(path);
  const bool read_only = file || path == kOpenApi;
  if (!is_read(request)) {
    if (read_only) throw_method("GET, HEAD");
    return std::nullopt;
  }
  if (path == kOpenApi) return tagged(request, openapi_tag(), [] { return openapi(); });
  if (!file) return page.answer(request, path);
  return let_in(b, "Artifacts/GetArtifact", request, [&](Door::Visit& visit) {
    const auto artifact = get_artifact(file->digest, b.store, project_of(b, visit));
    const auto sends = [&b, caller = visit.caller](std::uint64_t bytes) {
      b.door.check_still(caller);
      b.metrics.blob_bytes("out", static_cast<double>(bytes));
    };
    return artifact_file(request, Manifest::parse(artifact.manifest_json()), file->path, b.blobs, sends);
  });
}

HttpResponse route(const Backend& b, const RouteOptions& options, const Page& page, RecentAnswers& recent,
                   const HttpRequest& request) {
  const Target target = parse_target(request.target);
  if (auto response = watch_over(b, options, request, target.path)) {
    if (!is_read(request)) throw_method("GET, HEAD");
    return std::move(*response);
  }
  check_host(request, options.names);
  if (const auto* const rule = find_rule(request.method, target.path)) {
    if (!is_read(request))
      check_same_site(request, rule->raw_body     ? "application/octet-stream"
                               : rule->has_body() ? "application/json"
                                                  : "");
    return let_in(b, rule->name, request,
                  [&](Door::Visit& visit) { return answer(b, recent, *rule, request, target, visit); });
  }
  if (auto response = beside_the_calls(b, page, request, target.path)) return std::move(*response);
  if (const auto allowed = allowed_verbs(target.path); !allowed.empty()) throw_method(allowed);
  if (!is_read(request) && !target.path.starts_with("/api/")) throw_method("GET, HEAD");
  throw_no_such_path();
}

// The name of a path in metrics: one of few, whatever is asked for.
std::string name_of_route(const HttpRequest& request) {
  std::string path;
  try {
    path = parse_target(request.target).path;
  } catch (const Error&) {  // counted all the same
  }
  if (const auto* const rule = find_rule(request.method, path)) return rule->method->name();
  if (is_session(path)) return "session";
  if (file_path(path)) return "file";
  if (path == "/healthz" || path == "/readyz" || path == "/metrics") return path.substr(1);
  return "page";
}

}  // namespace

HttpHandler make_routes(Backend backend, RouteOptions options) {
  http_rules();  // an annotation that cannot be served ends the server at its start
  const auto page = std::make_shared<const Page>(options.page);
  const auto recent = std::make_shared<RecentAnswers>();
  return [backend, options = std::move(options), page, recent](const HttpRequest& request) {
    const Stopwatch watch;
    const std::string name = name_of_route(request);
    try {
      auto response = route(backend, options, *page, *recent, request);
      backend.metrics.http(name, response.status, watch.seconds());
      return response;
    } catch (...) {
      backend.metrics.http(name, http_status(current_error()), watch.seconds());
      throw;
    }
  };
}

}  // namespace wring

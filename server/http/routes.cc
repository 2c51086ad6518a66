// HTTP paths to the same back end as gRPC.
#include "server/http/routes.h"

#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <map>

#include "common/error.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/queries.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"

namespace wring {
namespace {

struct Target {
  std::string path;
  std::map<std::string, std::string> query;

  std::string get(const std::string& key) const {
    const auto it = query.find(key);
    return it == query.end() ? "" : it->second;
  }
  std::uint64_t number(const std::string& key, std::uint64_t fallback) const {
    const auto text = get(key);
    if (text.empty()) return fallback;
    std::uint64_t value = 0;
    const auto [rest, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc() || rest != text.data() + text.size() || value > 1'000'000'000'000)
      throw Error(ErrorCode::kInvalidArgument, "BAD_QUERY", "'" + text.substr(0, 40) + "' is no whole number",
                  key);
    return value;
  }
};

std::string decode_percent(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

Target parse_target(const std::string& raw) {
  Target target;
  const auto mark = raw.find('?');
  target.path = decode_percent(raw.substr(0, mark));
  for (std::size_t at = mark; at != std::string::npos && at + 1 < raw.size();) {
    const auto end = raw.find('&', at + 1);
    const auto pair = raw.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    const auto equals = pair.find('=');
    target.query[decode_percent(pair.substr(0, equals))] =
        equals == std::string::npos ? "" : decode_percent(pair.substr(equals + 1));
    at = end;
  }
  return target;
}

HttpResponse json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  HttpResponse response;
  const auto status = google::protobuf::util::MessageToJsonString(message, &response.body, options);
  if (!status.ok()) throw Error(ErrorCode::kInternal, "JSON", std::string(status.message()));
  return response;
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

int page_size_of(const Target& t) {
  return static_cast<int>(std::min<std::uint64_t>(t.number("page_size", 0), 1000));
}

HttpResponse jobs(const Backend& b, const Target& t) {
  v1::ListJobsRequest request;
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  request.set_name_contains(t.get("name_contains"));
  request.set_project(t.get("project"));
  if (const auto state = t.get("state"); !state.empty()) {
    v1::JobState parsed;
    std::string upper = "JOB_STATE_";
    for (const char c : state) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (!v1::JobState_Parse(upper, &parsed))
      throw Error(ErrorCode::kInvalidArgument, "BAD_STATE", "'" + state.substr(0, 40) + "' is no state",
                  "state");
    request.add_states(parsed);
  }
  return json(b.coordinator.list(request));
}

HttpResponse one_job(const Backend& b, const Target& t, const std::string& rest) {
  const auto slash = rest.find('/');
  if (slash == std::string::npos) return json(b.coordinator.job(rest));
  if (rest.substr(slash) != "/events")
    throw Error(ErrorCode::kNotFound, "NO_SUCH_PATH", "there is nothing at this path");
  const auto events =
      b.coordinator.events(rest.substr(0, slash), t.number("after", 0),
                           static_cast<int>(std::min<std::uint64_t>(t.number("limit", 1000), 1000)));
  return {200, "application/json", "{\"events\":" + joined(events) + "}"};
}

HttpResponse evaluations(const Backend& b, const Target& t) {
  v1::QueryEvaluationsRequest request;
  request.set_job_id(t.get("job"));
  request.set_artifact(t.get("artifact"));
  request.set_suite(t.get("suite"));
  request.set_metric(t.get("metric"));
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  return json(query_evaluations(request, b.store));
}

HttpResponse artifacts(const Backend& b, const Target& t) {
  v1::ListArtifactsRequest request;
  request.set_kind(t.get("kind"));
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  return json(list_artifacts(request, b.store));
}

HttpResponse workers(const Backend& b, const Target& t) {
  v1::ListWorkersRequest request;
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  return json(b.coordinator.list(request));
}

HttpResponse projects(const Backend& b, const Target& t) {
  v1::ListProjectsRequest request;
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  return json(b.coordinator.list(request));
}

HttpResponse methods(const Target& t) {
  v1::ListMethodsRequest request;
  request.set_page_size(page_size_of(t));
  request.set_page_token(t.get("page_token"));
  return json(list_methods(request));
}

HttpResponse route(const Backend& b, const Target& t) {
  const std::string api = "/api/v1/";
  if (t.path == "/healthz") return {200, "application/json", "{\"status\":\"ok\"}"};
  if (t.path == "/metrics") return {200, "text/plain; version=0.0.4", b.metrics.text()};
  if (t.path == api + "jobs") return jobs(b, t);
  if (t.path.starts_with(api + "jobs/")) return one_job(b, t, t.path.substr(api.size() + 5));
  if (t.path == api + "evaluations") return evaluations(b, t);
  if (t.path == api + "artifacts") return artifacts(b, t);
  if (t.path.starts_with(api + "artifacts/"))
    return json(get_artifact(t.path.substr(api.size() + 10), b.store));
  if (t.path == api + "workers") return workers(b, t);
  if (t.path == api + "projects") return projects(b, t);
  if (t.path == api + "methods") return methods(t);
  throw Error(ErrorCode::kNotFound, "NO_SUCH_PATH", "there is nothing at this path");
}

}  // namespace

HttpHandler make_routes(Backend backend) {
  return [backend](const std::string& target) { return route(backend, parse_target(target)); };
}

}  // namespace wring

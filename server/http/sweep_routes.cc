// Paths to calls of Sweeps.
#include "server/http/sweep_routes.h"

#include <utility>

#include "common/error.h"
#include "server/http/message_json.h"

namespace wring {
namespace {

constexpr std::string_view kList = "/api/v1/sweeps", kOne = "/api/v1/sweeps/";

using Verb = std::pair<std::string_view, std::string_view>;
constexpr Verb kReads[] = {{"trials", "Sweeps/ListTrials"}, {"front", "Sweeps/QueryFront"}};
constexpr Verb kCalls[] = {{"pause", "Sweeps/PauseSweep"},
                           {"resume", "Sweeps/ResumeSweep"},
                           {"stop", "Sweeps/StopSweep"},
                           {"cancel", "Sweeps/CancelSweep"},
                           {"extend", "Sweeps/ExtendSweep"}};

// Of /api/v1/sweeps/ID or /api/v1/sweeps/ID/VERB.
std::pair<std::string_view, std::string_view> id_and_verb(std::string_view path) {
  path.remove_prefix(kOne.size());
  const auto slash = path.find('/');
  if (slash == std::string_view::npos) return {path, ""};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

template <std::size_t n>
std::string_view method_of(const Verb (&verbs)[n], std::string_view verb) {
  for (const auto& [word, method] : verbs)
    if (word == verb) return method;
  return "";
}

v1::ListSweepsResponse list(const Backend& b, const Within& within, const Target& t) {
  v1::ListSweepsRequest request;
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  request.set_project(t.get("project"));
  return b.sweeps.list(within, request);
}

v1::ListTrialsResponse trials(const Backend& b, const Within& within, const Target& t,
                              const std::string& id) {
  v1::ListTrialsRequest request;
  request.set_id(id);
  request.set_page_size(t.page_size());
  request.set_page_token(t.get("page_token"));
  return b.sweeps.trials(within, request);
}

v1::QueryFrontResponse front(const Backend& b, const Within& within, const std::string& id) {
  v1::QueryFrontRequest request;
  request.set_id(id);
  return b.sweeps.front(within, request);
}

}  // namespace

std::string_view sweep_read_method(std::string_view path) {
  if (path == kList) return "Sweeps/ListSweeps";
  if (!path.starts_with(kOne)) return "";
  const auto verb = id_and_verb(path).second;
  return verb.empty() ? "Sweeps/GetSweep" : method_of(kReads, verb);
}

std::string_view sweep_call_method(std::string_view path) {
  if (path == kList) return "Sweeps/SubmitSweep";
  return path.starts_with(kOne) ? method_of(kCalls, id_and_verb(path).second) : "";
}

HttpResponse read_sweeps(const Backend& b, const Within& within, const HttpRequest& request,
                         const Target& t) {
  const auto method = sweep_read_method(t.path);
  if (method == "Sweeps/ListSweeps") return tagged(request, list(b, within, t));
  const std::string id(id_and_verb(t.path).first);
  if (method == "Sweeps/ListTrials") return tagged(request, trials(b, within, t, id));
  if (method == "Sweeps/QueryFront") return tagged(request, front(b, within, id));
  return tagged(request, b.sweeps.get(within, id));
}

HttpResponse call_sweeps(const Backend& b, Door::Visit& visit, const std::string& path,
                         const std::string& body) {
  const std::string_view method = visit.access->method;
  const Within& within = visit.caller.project;
  if (method != "Sweeps/SubmitSweep") visit.object = id_and_verb(path).first;
  const auto change = [&]() -> v1::Sweep {
    if (method == "Sweeps/SubmitSweep") return b.sweeps.submit(within, parse<v1::SubmitSweepRequest>(body));
    if (method == "Sweeps/ExtendSweep") {
      auto request = parse<v1::ExtendSweepRequest>(body);
      request.set_id(visit.object);
      return b.sweeps.extend(within, request);
    }
    const auto etag = parse<v1::PauseSweepRequest>(body).etag();  // the four have the same members
    if (method == "Sweeps/StopSweep") return b.sweeps.stop(within, visit.object, etag);
    if (method == "Sweeps/CancelSweep") return b.sweeps.cancel(within, visit.object, etag);
    return b.sweeps.pause(within, visit.object, etag, method == "Sweeps/PauseSweep");
  };
  const v1::Sweep sweep = change();
  visit.object = sweep.id();
  return json(sweep);
}

}  // namespace wring

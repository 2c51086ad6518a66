// Two probes and a refusal.
#include "server/http/standby.h"

#include "common/json.h"
#include "server/http/target.h"

namespace wring {

HttpResponse standby_answer(const HttpRequest& request) {
  const auto path = parse_target(request.target).path;
  if (path == "/healthz" || path == "/readyz")
    return {path == "/healthz" ? 200 : 503, "application/json", R"({"status":"standby"})", {}, {}};
  const Json problem{
      {"type", "about:blank"}, {"title", "STANDBY"},
      {"status", 503},         {"detail", "another server leads"},
      {"reason", "STANDBY"},   {"hint", "Call the one whose /readyz is 200, or a name that stands for it."}};
  return {503, "application/problem+json", problem.dump(), {}, {}};  // not thrown: it is no line in the log
}

}  // namespace wring

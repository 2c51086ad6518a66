// Two probes and a refusal.
#include "server/http/standby.h"

#include "common/error.h"
#include "server/http/target.h"

namespace wring {

HttpResponse standby_answer(const HttpRequest& request) {
  const auto path = parse_target(request.target).path;
  if (path == "/healthz" || path == "/readyz")
    return {path == "/healthz" ? 200 : 503, "application/json", R"({"status":"standby"})", {}, {}};
  throw Error(ErrorCode::kUnavailable, "STANDBY", "another server leads", "",
              "Call the one whose /readyz is 200, or a name that stands for it.");
}

}  // namespace wring

// What the HTTP paths answer.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "server/api/services.h"
#include "server/http/http_server.h"

namespace wring {

struct RouteOptions {
  std::filesystem::path page;      // folder of the built dashboard; may be absent
  std::vector<std::string> names;  // host names that this server goes by, beside localhost and its addresses
  std::function<std::string()> provisioner;  // its health; empty: there is none
};

// GET: /healthz, /metrics, the dashboard, and under /api/v1/ the same messages as gRPC's, as protobuf's JSON:
//   jobs, jobs/ID, jobs/ID/events, evaluations, artifacts, artifacts/DIGEST, artifacts/DIGEST/files/PATH
//   (bytes), workers, methods, methods/NAME, and those of sweep_routes.h
// POST with a JSON body: jobs (a SubmitJobRequest), jobs/ID/cancel, jobs/ID/retry ({} or {"etag": ..}),
//   recipes/validate ({"recipe": ..})
// GETs have an ETag. All but /healthz and /metrics check Host; POSTs check where they come from (guard.h).
HttpHandler make_routes(Backend backend, RouteOptions options = {});

}  // namespace wring

// What the HTTP paths answer.
#pragma once

#include "server/api/services.h"
#include "server/http/http_server.h"

namespace wring {

// /healthz, /metrics, /api/v1/{jobs, jobs/ID, jobs/ID/events, evaluations, artifacts, artifacts/DIGEST,
// workers, methods}.
HttpHandler make_routes(Backend backend);

}  // namespace wring

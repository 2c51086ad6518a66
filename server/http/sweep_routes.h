// Sweeps over HTTP: the same calls as gRPC's.
#pragma once

#include <string>
#include <string_view>

#include "server/api/services.h"
#include "server/http/http_server.h"
#include "server/http/target.h"

namespace wring {

// The method of the API that a path stands for; empty: none of sweeps.
std::string_view sweep_read_method(std::string_view path);
std::string_view sweep_call_method(std::string_view path);

// GET /api/v1/sweeps, sweeps/ID, sweeps/ID/trials, sweeps/ID/front. REQUIRES: sweep_read_method() of the
// path.
HttpResponse read_sweeps(const Backend& b, const Within& within, const HttpRequest& request, const Target& t);

// POST /api/v1/sweeps (a SubmitSweepRequest), sweeps/ID/{pause,resume,stop,cancel} ({} or {"etag": ..}),
// sweeps/ID/extend ({"more": {"trials": ..}}).
HttpResponse call_sweeps(const Backend& b, Door::Visit& visit, const std::string& path,
                         const std::string& body);

}  // namespace wring

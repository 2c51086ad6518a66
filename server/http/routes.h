// What the HTTP paths answer.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "server/api/calls.h"
#include "server/http/http_server.h"

namespace wring {

struct RouteOptions {
  std::filesystem::path page;      // folder of the built dashboard; may be absent
  std::vector<std::string> names;  // host names that this server goes by, beside localhost and its addresses
  std::function<std::string()> provisioner;  // its health; empty: there is none
};

// /healthz, /metrics, the dashboard, and under /api/v1/ the calls as the protos' annotations say (rules.h),
// in protobuf's JSON. Beside them there: openapi.json, the session (session.h), artifacts/DIGEST/files/PATH
// (bytes, in ranges).
// GETs of JSON have an ETag. All but /healthz and /metrics check Host; what changes something checks where it
// comes from (guard.h).
HttpHandler make_routes(Backend backend, RouteOptions options = {});

}  // namespace wring

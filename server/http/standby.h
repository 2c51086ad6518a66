// What a server answers that waits until it leads.
#pragma once

#include "server/http/http_server.h"

namespace wring {

// /healthz: it lives, as a standby; /readyz and all else: 503.
HttpResponse standby_answer(const HttpRequest& request);

}  // namespace wring

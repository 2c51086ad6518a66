// A file of an artifact over HTTP, put together from its chunks.
#pragma once

#include "formats/manifest.h"
#include "server/blobs/blob_store.h"
#include "server/http/http_server.h"

namespace wring {

// The whole file, or the one range that the request asks for (RFC 9110 section 14; several ranges: the whole
// file). Chunks are verified as they are read; at most one is in memory. `blobs` outlives the response.
// `sends` is called before so many bytes go out; what it throws ends the download. Throws Error(kNotFound,
// "FILE_NOT_FOUND"), kOutOfRange "RANGE_NOT_SATISFIABLE".
HttpResponse artifact_file(const HttpRequest& request, const Manifest& manifest, const std::string& path,
                           BlobStore& blobs, std::function<void(std::uint64_t)> sends);

}  // namespace wring

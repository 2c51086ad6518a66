// Blobs over HTTP: bytes as they are, where gRPC streams messages.
#pragma once

#include "server/api/calls.h"
#include "server/http/http_server.h"
#include "wring/v1/artifacts.pb.h"

namespace wring {

// One piece of an upload; the last one makes the blob. The answer says how many bytes are safe: where the
// next piece begins. Throws as Artifacts.WriteBlob.
v1::WriteBlobResponse write_blob(const Backend& backend, const Door::Visit& visit,
                                 const v1::WriteBlobRequest& request);

// A blob, or a part of it. Throws as Artifacts.ReadBlob.
HttpResponse read_blob(const Backend& backend, const Door::Visit& visit, const v1::ReadBlobRequest& request);

}  // namespace wring

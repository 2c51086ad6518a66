// The public calls of the API by their names: what gRPC and HTTP both answer with. Those that stream are not
// among them.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/auth/door.h"
#include "server/auth/tenant_blobs.h"
#include "server/blobs/blob_store.h"
#include "server/sweeps/sweeps.h"

namespace wring {

// What the calls work on. All outlive them.
struct Backend {
  Coordinator& coordinator;
  Sweeps& sweeps;
  JobStore& store;
  BlobStore& blobs;
  Tokens& tokens;
  Door& door;
  const Clock& clock;
  Metrics& metrics;
  double heartbeat_seconds = 3;  // what workers are asked for
  double silence_seconds = 60;   // that a stream's client may neither give nor take a message
};

// Who is let in may call from any thread.
struct Call {
  std::string_view method;  // "Jobs/GetJob"
  const google::protobuf::Descriptor *request, *response;
  // REQUIRES: messages of these types. Fills in what the visit is about. Of CommitArtifact, `missing` takes
  // the digests of chunks that are not there.
  std::function<void(const Backend& backend, Door::Visit& visit, const google::protobuf::Message& request,
                     google::protobuf::Message& response, std::vector<std::string>& missing)>
      run;
};

std::span<const Call> calls();
// nullptr: it streams, or is for workers alone.
const Call* find_call(std::string_view method);

bool is_worker(const Door::Visit& visit);
// Whose artifacts the call is about: a worker's, those of the project whose job it calls for.
Within project_of(const Backend& backend, const Door::Visit& visit);
// The blobs that the caller may read and write.
TenantBlobs blobs_of(const Backend& backend, const Door::Visit& visit);

}  // namespace wring

// The project's stage cache: outputs of finished stages by key, shared by its workers through the blob store.
#pragma once

#include <string>
#include <vector>

#include "common/clock.h"
#include "server/auth/tenant_blobs.h"
#include "server/blobs/blob_store.h"
#include "server/http/metrics.h"
#include "server/store/job_store.h"
#include "wring/v1/workers.pb.h"

namespace wring {

struct StageOutputs {
  JobStore& store;
  BlobStore& blobs;
  Metrics& metrics;

  // What the project has under the key; its chunks are as young as new ones from here on. One that has lost a
  // chunk is forgotten. Throws Error(kInvalidArgument, "BAD_DIGEST") for a key that is none.
  v1::FindStageResponse find(const std::string& project, const std::string& key, TimeMs now);

  // The first output of a key stays. Throws as commit_artifact() does.
  v1::KeepStageResponse keep(const std::string& project, const v1::KeepStageRequest& request,
                             const TenantBlobs& uploaded, TimeMs now, std::vector<std::string>& missing);
};

}  // namespace wring

// Artifacts as the store keeps them: committed once all their chunks are there.
#pragma once

#include <string>

#include "common/clock.h"
#include "server/blobs/disk/blob_store.h"
#include "server/store/sqlite/job_store.h"

namespace wring {

// Checks the manifest and that every chunk is in the store with its size; commits it durably; idempotent.
// Throws Error kInvalidArgument "BAD_MANIFEST", kFailedPrecondition "MISSING_BLOBS".
wring::v1::Artifact commit_artifact(const std::string& manifest_json, const std::string& name, TimeMs now,
                                    JobStore& store, const BlobStore& blobs);

}  // namespace wring

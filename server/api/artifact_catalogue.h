// Artifacts as the store keeps them: committed once all their chunks are there.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/digest.h"
#include "formats/manifest.h"
#include "server/auth/tenant_blobs.h"
#include "server/store/job_store.h"

namespace wring {

// Checks the manifest and that every chunk is there for this caller, with its size; commits it durably as an
// artifact of request.project() (empty: the caller's, or "default"); idempotent; one whose time was over, and
// that was not deleted yet, is kept from now on. What a `job` hands in goes after a day, unless its success
// keeps it. Throws Error kInvalidArgument "BAD_MANIFEST",
// "NAME_TOO_LONG"; kNotFound "PROJECT_NOT_FOUND"; kFailedPrecondition "MISSING_BLOBS" with their digests in
// `missing`.
v1::Artifact commit_artifact(const v1::CommitArtifactRequest& request, TimeMs now, JobStore& store,
                             const TenantBlobs& blobs, const std::string& job,
                             std::vector<std::string>& missing);

// A manifest from a request's field manifest_json, which errors name.
Manifest parse_manifest(const std::string& text);

std::map<Digest, std::uint64_t> chunks_of(const Manifest& manifest);  // sizes

std::set<Digest> digests_of(const Manifest& manifest);

// Throws MISSING_BLOBS as commit_artifact() does. The caller holds a claim on them before, and until the
// manifest is stored.
void check_chunks(const Manifest& manifest, const TenantBlobs& blobs, std::vector<std::string>& missing);

// By digest (with or without "sha256:") or a unique prefix. Throws Error kNotFound, kInvalidArgument
// "AMBIGUOUS".
v1::Artifact get_artifact(const std::string& digest_or_prefix, JobStore& store, const Within& project);

// The project whose copy of the artifact a caller means who names `project`, or none: his own, or the only
// one that has it. Throws kInvalidArgument "SEVERAL_PROJECTS", kNotFound for a project that is not his.
Within owner_of(const std::string& digest, const Within& caller, const std::string& project, JobStore& store);

// Throws Error as get_artifact() and owner_of(), kInvalidArgument for a time that is over.
v1::Artifact set_retention(const v1::SetRetentionRequest& request, TimeMs now, JobStore& store,
                           const Within& caller);

// Of what a job or sweep asks for its results. Throws Error kInvalidArgument that names the field under
// `field`.
void check_retention(const v1::Retention& retention, const std::string& field);

v1::ListArtifactsResponse list_artifacts(const v1::ListArtifactsRequest& request, JobStore& store,
                                         const Within& project);

}  // namespace wring

// Committing and finding artifacts.
#include "server/api/artifact_catalogue.h"

#include <optional>
#include <set>

#include "common/error.h"
#include "common/text.h"
#include "formats/model_kind.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"
#include "server/store/artifact_rows.h"
#include "server/store/audit_rows.h"

namespace wring {

Manifest parse_manifest(const std::string& text) {
  try {
    return Manifest::parse(text);
  } catch (const Error& error) {
    const bool whole = error.field().empty() || error.field() == "manifest";
    const std::string inner = whole ? "" : "." + error.field();
    throw Error(error.code(), error.reason(), error.message(), "manifest_json" + inner, error.hint());
  }
}

std::map<Digest, std::uint64_t> chunks_of(const Manifest& manifest) {
  std::map<Digest, std::uint64_t> chunks;
  for (const auto& file : manifest.files)
    for (const auto& chunk : file.chunks) chunks.emplace(chunk.digest, chunk.size);
  return chunks;
}

std::set<Digest> digests_of(const Manifest& manifest) {
  std::set<Digest> digests;
  for (const auto& file : manifest.files)
    for (const auto& chunk : file.chunks) digests.insert(chunk.digest);
  return digests;
}

void check_chunks(const Manifest& manifest, const TenantBlobs& blobs, std::vector<std::string>& missing) {
  for (const auto& [chunk, size] : chunks_of(manifest))
    if (!blobs.has(chunk, size)) missing.push_back(chunk.hex());
  if (!missing.empty())
    throw Error(
        ErrorCode::kFailedPrecondition, "MISSING_BLOBS",
        std::to_string(missing.size()) + " chunks are not in the store, the first is " + missing.front(),
        "manifest_json", "Ask FindMissingBlobs and upload what it names.");
}

constexpr std::size_t kMaxFormat = 64;

// As it says itself; else by its files.
std::string format_of(const Manifest& manifest) {
  const auto said = manifest.metadata.find("format");
  if (said != manifest.metadata.end() && said->is_string()) {
    const auto& format = said->get_ref<const std::string&>();
    if (!format.empty() && format.size() <= kMaxFormat) return format;
  }
  std::vector<std::string> paths;
  for (const auto& file : manifest.files) paths.push_back(file.path);
  return weights_format(paths);
}

v1::Artifact commit_artifact(const v1::CommitArtifactRequest& request, TimeMs now, JobStore& store,
                             const TenantBlobs& blobs, const std::string& job,
                             std::vector<std::string>& missing) {
  if (request.name().size() > 200)
    throw Error(ErrorCode::kInvalidArgument, "NAME_TOO_LONG", "a name of more than 200 bytes", "name");
  if (!request.project().empty()) {
    check_project(request.project(), "project");
    check_within(blobs.project(), request.project(), "project");
  }
  const Manifest manifest = parse_manifest(request.manifest_json());
  const auto digest = manifest.digest().hex();
  AuditNote::about(digest);
  const auto claim = blobs.claim(digests_of(manifest));  // until the artifact is stored
  check_chunks(manifest, blobs, missing);
  std::string project = request.project().empty() ? blobs.project() : request.project();
  if (project.empty()) project = kDefaultProject;
  if (auto known = store.artifact(digest, project); known && !known->has_expire_time()) return *known;
  v1::Artifact artifact;
  artifact.set_project(project);
  artifact.set_digest(digest);
  artifact.set_kind(manifest.kind);
  artifact.set_total_bytes(manifest.total_bytes());
  artifact.set_file_count(static_cast<std::uint32_t>(manifest.files.size()));
  *artifact.mutable_create_time() = to_timestamp(now);
  artifact.set_manifest_json(manifest.canonical());
  artifact.set_name(request.name());
  artifact.set_format(format_of(manifest));
  if (!job.empty()) {
    artifact.set_created_by_job(job);
    *artifact.mutable_expire_time() = to_timestamp(now + kUntilTheJobEnds);
  }
  StoreBatch batch;
  batch.artifacts.push_back(artifact);
  store.write(std::move(batch)).get();
  return store.artifact(digest, project).value_or(artifact);  // one that was there keeps its name
}

v1::Artifact get_artifact(const std::string& digest_or_prefix, JobStore& store, const Within& project) {
  const bool prefixed = digest_or_prefix.starts_with("sha256:");
  const auto digest = prefixed ? digest_or_prefix.substr(7) : digest_or_prefix;
  auto artifact = store.artifact(digest, project);
  if (!artifact)
    throw Error(ErrorCode::kNotFound, "ARTIFACT_NOT_FOUND", "there is no artifact " + digest.substr(0, 64),
                "digest");
  return *artifact;
}

Within owner_of(const std::string& digest, const Within& caller, const std::string& project,
                JobStore& store) {
  if (!project.empty()) {
    check_project(project, "project");
    check_within(caller, project, "project");
    return project;
  }
  if (!caller.empty()) return caller;
  const auto owners = store.projects_of(digest);
  if (owners.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, "SEVERAL_PROJECTS",
                std::to_string(owners.size()) + " projects have a copy of artifact " + digest.substr(0, 64),
                "project", "Name one of " + join(owners, ", ") + ".");
  return owners.empty() ? "" : owners.front();
}

v1::Artifact set_retention(const v1::SetRetentionRequest& request, TimeMs now, JobStore& store,
                           const Within& caller) {
  const auto refuse = [](const char* reason, const char* message, const char* hint) {
    throw Error(ErrorCode::kInvalidArgument, reason, message, "expire_time", hint);
  };
  std::optional<TimeMs> expire_time;
  if (request.has_expire_time()) {
    if (request.pinned()) refuse("BAD_RETENTION", "a pinned artifact does not expire", "One or the other.");
    constexpr std::int64_t kYear10000 = 253402300800;  // seconds; JSON has no later times
    if (request.expire_time().seconds() >= kYear10000)
      refuse("OUT_OF_RANGE", "this time is after the year 9999", "Pin the artifact to keep it for good.");
    expire_time = to_time(request.expire_time());
    if (*expire_time <= now) refuse("OUT_OF_RANGE", "this time is over", "DeleteArtifact deletes it now.");
  }
  const auto digest = get_artifact(request.digest(), store, caller).digest();
  AuditNote::about(digest);
  const auto project = owner_of(digest, caller, request.project(), store);
  store.set_retention(digest, request.pinned(), expire_time, project);
  return get_artifact(digest, store, project);
}

void check_retention(const v1::Retention& retention, const std::string& field) {
  const double seconds = retention.expire_after_seconds();
  if (!(seconds >= 0 && seconds <= 1e9))
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "results expire after 0 (never) to 1e9 seconds",
                field + ".expire_after_seconds");
  if (retention.pinned() && seconds > 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_RETENTION", "a pinned artifact does not expire", field,
                "One or the other.");
}

v1::ListArtifactsResponse list_artifacts(const v1::ListArtifactsRequest& request, JobStore& store,
                                         const Within& project) {
  const int limit = page_size(request.page_size(), 50, 1000);
  const PageTokens tokens(request, project, store.page_key());
  auto page = store.artifacts(
      {request.kind(), request.name_contains(), static_cast<std::int64_t>(tokens.position()), limit},
      project);
  v1::ListArtifactsResponse response;
  for (auto& artifact : page.artifacts) *response.add_artifacts() = std::move(artifact);
  if (response.artifacts_size() == limit && page.last_row > 1)
    response.set_next_page_token(tokens.token(static_cast<std::uint64_t>(page.last_row)));
  return response;
}

}  // namespace wring

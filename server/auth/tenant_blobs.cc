// Rows (project, blob) in front of the blob store.
#include "server/auth/tenant_blobs.h"

#include <chrono>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

// A project's claim is renewed at most so often (seconds): each renewal is a write.
constexpr int kRenewal = 3600;

constexpr std::size_t kPrefix = 16;  // digits of an upload's id that are the project's

bool is_owned(Connection& db, const std::string& project, const Digest& digest) {
  Statement row(db, "SELECT 1 FROM project_blobs WHERE project = ? AND digest = ?");
  row.bind(project).bind(digest.hex());
  return row.row();
}

bool is_old(Connection& db, const std::string& project, const Digest& digest) {
  Statement row(db,
                "SELECT 1 FROM project_blobs WHERE project = ? AND digest = ? AND time < unixepoch() - ?");
  row.bind(project).bind(digest.hex()).bind(kRenewal);
  return row.row();
}

void renew_rows(Connection& db, const std::string& project, const std::vector<Digest>& digests) {
  for (const auto& digest : digests)
    Statement(db, "UPDATE project_blobs SET time = unixepoch() WHERE project = ? AND digest = ?")
        .bind(project)
        .bind(digest.hex())
        .run();
}

}  // namespace

std::pair<std::uint64_t, std::uint64_t> bytes_of(Connection& db, const std::string& project) {
  Statement row(db,
                "SELECT coalesce((SELECT bytes FROM project_bytes WHERE project = ?1), 0), "
                "coalesce((SELECT bytes FROM quotas WHERE project = ?1), 0)");
  row.bind(project).row();
  return {static_cast<std::uint64_t>(row.integer(0)), static_cast<std::uint64_t>(row.integer(1))};
}

void throw_over_bytes(const std::string& project, std::uint64_t bytes, std::uint64_t most) {
  throw Error(
      ErrorCode::kResourceExhausted, "QUOTA_BYTES",
      "project " + project + " has " + std::to_string(bytes) + " bytes, and may have " + std::to_string(most),
      "", "wring discard what is not needed; its bytes are counted until they are collected.");
}

bool TenantBlobs::has(const Digest& digest, std::uint64_t size) const {
  if (!project_.empty() && !store_.read([&](Connection& db) { return is_owned(db, project_, digest); }))
    return false;
  return blobs_.has(digest) && blobs_.size(digest) == size;
}

std::vector<Digest> TenantBlobs::missing(const std::vector<Digest>& digests) const {
  std::vector<Digest> lacking, old;
  for (const auto& digest : digests) {
    const auto [owned, stale] = store_.read([&](Connection& db) {
      return project_.empty() ? std::pair(true, false)
                              : std::pair(is_owned(db, project_, digest), is_old(db, project_, digest));
    });
    if (!owned || !blobs_.renew(digest))
      lacking.push_back(digest);
    else if (stale)
      old.push_back(digest);
  }
  if (!old.empty()) store_.change_later([&](Connection& db) { renew_rows(db, project_, old); }).get();
  return lacking;
}

std::uint64_t TenantBlobs::committed_size(const Digest& digest, const std::string& upload_id) const {
  if (missing({digest}).empty()) return blobs_.size(digest);
  return blobs_.part_size(digest, own(upload_id));
}

void TenantBlobs::read(const Digest& digest, std::uint64_t offset, std::uint64_t limit,
                       const std::function<bool(std::span<const std::byte>)>& sink) const {
  if (!project_.empty() && !store_.read([&](Connection& db) { return is_owned(db, project_, digest); }))
    throw_blob_not_found(digest);
  blobs_.read(digest, offset, limit, sink);
}

bool TenantBlobs::is_limited() const {
  return !project_.empty() && limited_ &&
         store_.read([&](Connection& db) { return bytes_of(db, project_); }).second > 0;
}

void TenantBlobs::check_room(std::uint64_t bytes) const {
  if (project_.empty() || !limited_) return;
  const auto [has, most] = store_.read([&](Connection& db) { return bytes_of(db, project_); });
  if (most > 0 && has + bytes > most) throw_over_bytes(project_, has, most);
}

std::string TenantBlobs::own_prefix() const {
  return sha256(project_).hex().substr(0, kPrefix);
}

// Ids are at most 64 letters, digits and dashes, and so is this: a project's name may hold more than those.
std::string TenantBlobs::own(const std::string& upload_id) const {
  check_upload_id(upload_id);
  if (project_.empty()) return upload_id;
  return own_prefix() + sha256(project_ + " " + upload_id).hex().substr(kPrefix);
}

BlobStore::Upload TenantBlobs::upload(const Digest& digest, std::uint64_t size,
                                      const std::string& upload_id) const {
  const auto id = own(upload_id);
  if (is_limited()) check_room(size + blobs_.part_bytes(own_prefix(), digest, id));
  return {blobs_, digest, size, id};
}

void TenantBlobs::add(const Digest& digest, std::uint64_t size) const {
  if (project_.empty()) return;  // a manifest that is committed says whose it is
  std::uint64_t has = 0, most = 0;
  bool fits = false;
  store_.change([&](Connection& db) {
    std::tie(has, most) = bytes_of(db, project_);
    fits = !limited_ || most == 0 || has + size <= most || is_owned(db, project_, digest);
    if (fits)
      Statement(db,
                "INSERT INTO project_blobs VALUES(?,?,?,unixepoch()) "
                "ON CONFLICT(project, digest) DO UPDATE SET time = excluded.time")
          .bind(project_)
          .bind(digest.hex())
          .bind(size)
          .run();
  });
  if (!fits) throw_over_bytes(project_, has, most);
}

void forget_unused_blobs(JobStore& store, TimeMs grace) {
  const auto before = store.read([&](Connection& db) {
    Statement now(db, "SELECT unixepoch()");
    now.row();
    return now.integer(0) - grace / 1000 + (grace == 0);
  });
  const auto unused = store.read([&](Connection& db) {
    Statement rows(db,
                   "SELECT project, digest FROM project_blobs WHERE time < ? EXCEPT "
                   "SELECT made.project, json_extract(c.value, '$.sha256') FROM "
                   "(SELECT a.project, m.manifest FROM artifacts a JOIN manifests m ON m.digest = a.digest "
                   "UNION ALL SELECT project, manifest FROM stage_outputs) made, "
                   "json_each(made.manifest, '$.files') f, json_each(f.value, '$.chunks') c");
    rows.bind(before);
    std::vector<std::pair<std::string, std::string>> found;
    while (rows.row()) found.emplace_back(rows.text(0), rows.text(1));
    return found;
  });
  if (unused.empty()) return;
  store.change([&](Connection& db) {  // only where nobody has asked for it meanwhile
    for (const auto& [project, digest] : unused)
      Statement(db, "DELETE FROM project_blobs WHERE project = ? AND digest = ? AND time < ?")
          .bind(project)
          .bind(digest)
          .bind(before)
          .run();
  });
}

}  // namespace wring

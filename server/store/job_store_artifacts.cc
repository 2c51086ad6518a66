// Rows of artifacts: one of what each is made of, one for each project that has it.
#include <google/protobuf/util/time_util.h>

#include <shared_mutex>

#include "common/error.h"
#include "server/store/artifact_rows.h"
#include "server/store/job_store.h"
#include "server/store/sweep_rows.h"

namespace wring {
namespace {

using google::protobuf::operator>;  // of timestamps
using google::protobuf::util::TimeUtil;

// Columns: message, project, and, where wanted, the manifest.
v1::Artifact read_artifact(Statement& row, bool with_manifest) {
  v1::Artifact artifact;
  artifact.ParseFromString(row.text(0));
  artifact.set_project(row.text(1));
  if (with_manifest) artifact.set_manifest_json(row.text(2));
  return artifact;
}

std::string manifest_of(Connection& db, const std::string& digest) {
  Statement row(db, "SELECT manifest FROM manifests WHERE digest = ?");
  row.bind(digest);
  return row.row() ? row.text(0) : "{}";
}

Statement& bind_expiry(Statement& statement, const v1::Artifact& artifact) {
  return artifact.has_expire_time()
             ? statement.bind(TimeUtil::TimestampToMilliseconds(artifact.expire_time()))
             : statement.bind_null();
}

void put_row(Connection& db, v1::Artifact artifact, const std::string& project) {
  artifact.clear_manifest_json();
  artifact.clear_project();
  Statement insert(db,
                   "INSERT INTO artifacts(project, digest, kind, message, expire_time) VALUES(?,?,?,?,?) "
                   "ON CONFLICT DO NOTHING");
  insert.bind(project).bind(artifact.digest()).bind(artifact.kind()).bind(artifact.SerializeAsString());
  bind_expiry(insert, artifact).run();
  own_chunks(db, project, manifest_of(db, artifact.digest()));
}

// Of the artifact's row; its project is a column of its own.
void update_row(Connection& db, std::int64_t row, v1::Artifact artifact) {
  artifact.clear_project();
  Statement update(db, "UPDATE artifacts SET message = ?, expire_time = ? WHERE row = ?");
  update.bind(artifact.SerializeAsString());
  bind_expiry(update, artifact).bind(row).run();
}

v1::Retention retention_of(Connection& db, const std::string& job) {
  Statement row(db, "SELECT spec FROM jobs WHERE id = ?");
  row.bind(job);
  v1::JobSpec spec;
  if (row.row()) spec.ParseFromString(row.text(0));
  return spec.retention();
}

// As a job wants it that ended at `end`. One that is not new is kept no shorter than it was to be.
void retain(v1::Artifact& artifact, const v1::Retention& wanted, TimeMs end, bool is_new) {
  if (wanted.pinned()) artifact.set_pinned(true);
  if (artifact.pinned() || wanted.expire_after_seconds() == 0) return artifact.clear_expire_time();
  if (!is_new && !artifact.has_expire_time()) return;
  const auto until = end + static_cast<TimeMs>(wanted.expire_after_seconds() * 1000);
  if (is_new || TimeUtil::TimestampToMilliseconds(artifact.expire_time()) < until)
    *artifact.mutable_expire_time() = TimeUtil::MillisecondsToTimestamp(until);
}

// Whether the artifact is there for a job that has not succeeded, and goes unless it does.
bool is_provisional(Connection& db, const v1::Artifact& artifact) {
  Statement row(db, "SELECT 1 FROM jobs WHERE id = ? AND phase <> ?");
  row.bind(artifact.created_by_job()).bind(static_cast<int>(JobPhase::kSucceeded));
  return row.row();
}

// One that would go before what is handed in now is kept as that is, and one whose time is over, or that no
// success has kept, as if it were new: whoever handed it in counts on it.
void revive(Connection& db, const v1::Artifact& handed_in, const std::string& project) {
  v1::Artifact artifact;
  std::int64_t at = 0;
  {
    Statement row(db,
                  "SELECT message, row FROM artifacts WHERE digest = ? AND project = ? AND expire_time > 0");
    row.bind(handed_in.digest()).bind(project);
    if (!row.row() || !artifact.ParseFromString(row.text(0))) return;
    at = row.integer(1);
  }
  const auto& until = handed_in.has_expire_time() ? handed_in.expire_time() : handed_in.create_time();
  if (artifact.expire_time() > until && (handed_in.has_expire_time() || !is_provisional(db, artifact)))
    return;
  artifact.clear_expire_time();
  if (handed_in.has_expire_time()) *artifact.mutable_expire_time() = handed_in.expire_time();
  update_row(db, at, std::move(artifact));
}

// Where no project has the artifact any more.
void forget_manifest(Connection& db, const std::string& digest) {
  Statement(db,
            "DELETE FROM manifests WHERE digest = ?1 AND NOT EXISTS "
            "(SELECT 1 FROM artifacts WHERE digest = ?1)")
      .bind(digest)
      .run();
}

}  // namespace

void own_chunks(Connection& db, const std::string& project, const std::string& manifest) {
  Statement(db,
            "INSERT INTO project_blobs "
            "SELECT ?, json_extract(c.value, '$.sha256'), "
            "max(CAST(json_extract(c.value, '$.size') AS BIGINT)), unixepoch() "
            "FROM json_each(?, '$.files') f, json_each(f.value, '$.chunks') c GROUP BY 2 "
            "ON CONFLICT(project, digest) DO UPDATE SET time = excluded.time")
      .bind(project)
      .bind(manifest)
      .run();
}

void put_artifact(Connection& db, const v1::Artifact& artifact) {
  Statement(db, "INSERT INTO manifests(digest, manifest) VALUES(?,?) ON CONFLICT DO NOTHING")
      .bind(artifact.digest())
      .bind(artifact.manifest_json())
      .run();
  const std::string project = artifact.project().empty() ? kDefaultProject : artifact.project();
  put_row(db, artifact, project);
  revive(db, artifact, project);
}

void share_artifact(Connection& db, const std::string& digest, const std::string& project) {
  v1::Artifact artifact;
  {
    Statement row(db,
                  "SELECT message FROM artifacts WHERE digest = ?1 AND NOT EXISTS "
                  "(SELECT 1 FROM artifacts WHERE digest = ?1 AND project = ?2) LIMIT 1");
    row.bind(digest).bind(project);
    if (!row.row() || !artifact.ParseFromString(row.text(0))) return;
  }
  artifact.clear_name();
  artifact.clear_created_by_job();
  artifact.clear_pinned();
  artifact.clear_expire_time();
  put_row(db, std::move(artifact), project);
}

void put_made(Connection& db, const std::vector<std::string>& digests, const JobRecord& job) {
  const auto retention = retention_of(db, job.id);
  for (const auto& digest : digests) {
    share_artifact(db, digest, job.project);
    v1::Artifact artifact;
    std::int64_t at = 0;
    {
      Statement row(db, "SELECT message, project, row FROM artifacts WHERE digest = ? AND project = ?");
      row.bind(digest).bind(job.project);
      if (!row.row()) continue;
      artifact = read_artifact(row, false);
      at = row.integer(2);
    }
    const bool is_own = artifact.created_by_job().empty() || artifact.created_by_job() == job.id;
    const bool is_new =
        is_own && TimeUtil::TimestampToMilliseconds(artifact.create_time()) >= job.create_time;
    if (artifact.created_by_job().empty()) artifact.set_created_by_job(job.id);
    retain(artifact, retention, job.end_time, is_new);
    update_row(db, at, std::move(artifact));
  }
}

bool JobStore::has_artifact(const std::string& digest, const Within& project) {
  const Reader reader(*readers_);
  Statement row(reader.get(), "SELECT 1 FROM artifacts WHERE digest = ?1 AND (?2 = '' OR project = ?2)");
  row.bind(digest).bind(project);
  return row.row();
}

std::optional<v1::Artifact> JobStore::artifact(const std::string& prefix, const Within& project) {
  if (prefix.size() < 4) return std::nullopt;
  const Reader reader(*readers_);
  Statement rows(
      reader.get(),
      "SELECT a.message, a.project, m.manifest FROM artifacts a JOIN manifests m ON m.digest = a.digest "
      "WHERE a.digest >= ?1 AND a.digest < ?1 || '~' AND (?2 = '' OR a.project = ?2) "
      "ORDER BY a.digest, a.row");
  rows.bind(prefix).bind(project);
  if (!rows.row()) return std::nullopt;
  auto found = read_artifact(rows, true);
  while (rows.row())
    if (read_artifact(rows, false).digest() != found.digest())
      throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS", "several artifacts begin with " + prefix,
                  "digest", "Give more of the digest.");
  return found;
}

// The message holds the name among other words, so that a row may still be of another name.
ArtifactPage JobStore::artifacts(const ArtifactFilter& filter, const Within& project) {
  const Reader reader(*readers_);
  ArtifactPage page;
  page.last_row = filter.before_row > 0 ? filter.before_row : INT64_MAX;
  const auto limit = static_cast<std::size_t>(filter.limit);
  for (bool more = true; more && page.artifacts.size() < limit;) {
    Statement rows(
        reader.get(),
        "SELECT message, project, row FROM artifacts a WHERE row < ?1 AND (?2 = '' OR kind = ?2) AND "
        "CASE WHEN ?3 = '' THEN row = (SELECT min(row) FROM artifacts WHERE digest = a.digest) ELSE project "
        "= ?3 END AND (?5 = '' OR instr(message, ?5) > 0) "
        "ORDER BY row DESC LIMIT ?4");
    rows.bind(page.last_row).bind(filter.kind).bind(project).bind(filter.limit).bind(filter.name_contains);
    int read = 0;
    while (page.artifacts.size() < limit && rows.row()) {
      ++read;
      page.last_row = rows.integer(2);
      auto artifact = read_artifact(rows, false);
      if (artifact.name().find(filter.name_contains) != std::string::npos)
        page.artifacts.push_back(std::move(artifact));
    }
    more = read == filter.limit;
  }
  return page;
}

std::vector<std::string> JobStore::projects_of(const std::string& digest) {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT project FROM artifacts WHERE digest = ? ORDER BY project");
  rows.bind(digest);
  std::vector<std::string> projects;
  while (rows.row()) projects.push_back(rows.text(0));
  return projects;
}

bool JobStore::set_retention(const std::string& digest, bool pinned, std::optional<TimeMs> expire_time,
                             const Within& project) {
  const std::shared_lock lock(inputs_);  // no deletion has looked whether it is pinned
  bool found = false;
  change([&](Connection& db) {
    std::vector<std::pair<std::int64_t, v1::Artifact>> changed;
    {
      Statement rows(db,
                     "SELECT message, project, row FROM artifacts "
                     "WHERE digest = ?1 AND (?2 = '' OR project = ?2)");
      rows.bind(digest).bind(project);
      while (rows.row()) changed.emplace_back(rows.integer(2), read_artifact(rows, false));
    }
    found = !changed.empty();
    for (auto& [row, artifact] : changed) {
      artifact.set_pinned(pinned);
      artifact.clear_expire_time();
      if (expire_time) *artifact.mutable_expire_time() = TimeUtil::MillisecondsToTimestamp(*expire_time);
      update_row(db, row, std::move(artifact));
    }
  });
  return found;
}

void JobStore::remove_artifact(const std::string& digest, const Within& project) {
  check_space();  // the write below waits for space, and submits wait for it
  const std::lock_guard lock(inputs_);
  if (!has_artifact(digest, project))
    throw Error(ErrorCode::kNotFound, "ARTIFACT_NOT_FOUND", "there is no artifact " + digest.substr(0, 64),
                "digest");
  if (is_pinned(digest, project))
    throw Error(ErrorCode::kFailedPrecondition, "ARTIFACT_PINNED", "artifact " + digest + " is pinned",
                "digest", "wring retain --keep takes the pin away.");
  if (const auto reader = open_reader_of(digest, project); !reader.empty())
    throw Error(ErrorCode::kFailedPrecondition, "ARTIFACT_IN_USE",
                reader + ", which has not ended, reads artifact " + digest, "digest",
                "Wait for it, or cancel it.");
  change([&](Connection& db) {
    Statement(db, "DELETE FROM artifacts WHERE digest = ?1 AND (?2 = '' OR project = ?2)")
        .bind(digest)
        .bind(project)
        .run();
    forget_manifest(db, digest);
  });
}

bool JobStore::is_pinned(const std::string& digest, const Within& project) {
  const Reader reader(*readers_);
  Statement rows(reader.get(),
                 "SELECT message, project FROM artifacts WHERE digest = ?1 AND (?2 = '' OR project = ?2)");
  rows.bind(digest).bind(project);
  while (rows.row())
    if (read_artifact(rows, false).pinned()) return true;
  return false;
}

// "job ID" or "sweep ID", or nothing. A digest of 64 digits stands in a spec as itself.
std::string JobStore::open_reader_of(const std::string& digest, const Within& project) {
  const Reader reader(*readers_);
  Statement row(
      reader.get(),
      "SELECT 'job ' || id FROM jobs WHERE phase <= 3 AND instr(spec, ?1) > 0 AND (?2 = '' OR project = ?2) "
      "UNION ALL SELECT 'sweep ' || id FROM sweeps "
      "WHERE phase <= 4 AND instr(spec, ?1) > 0 AND (?2 = '' OR project = ?2) LIMIT 1");
  row.bind(digest).bind(project);
  return row.row() ? row.text(0) : "";
}

std::vector<std::pair<std::string, std::string>> JobStore::expired(TimeMs now) {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT digest, project FROM artifacts WHERE expire_time <= ?");
  rows.bind(now);
  std::vector<std::pair<std::string, std::string>> found;
  while (rows.row()) found.emplace_back(rows.text(0), rows.text(1));
  return found;
}

std::set<std::pair<std::string, std::string>> JobStore::inputs_of_open_jobs() {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT spec, project FROM jobs WHERE phase <= 3");
  std::set<std::pair<std::string, std::string>> inputs;
  while (rows.row()) {
    v1::JobSpec spec;
    spec.ParseFromString(rows.text(0));
    inputs.emplace(spec.model(), rows.text(1));
    for (const auto& [name, digest] : spec.data()) inputs.emplace(digest, rows.text(1));
  }
  add_inputs_of_open_sweeps(reader.get(), inputs);
  return inputs;
}

std::uint64_t JobStore::remove_expired(const std::vector<std::pair<std::string, std::string>>& artifacts,
                                       TimeMs now) {
  if (artifacts.empty()) return 0;
  check_space();
  const std::lock_guard lock(inputs_);
  const auto used = inputs_of_open_jobs();
  std::uint64_t removed = 0;
  change([&](Connection& db) {
    removed = 0;  // a commit that finds the disk full is made again
    for (const auto& [digest, project] : artifacts) {
      if (used.contains({digest, project})) continue;
      Statement(db, "DELETE FROM artifacts WHERE digest = ? AND project = ? AND expire_time <= ?")
          .bind(digest)
          .bind(project)
          .bind(now)
          .run();
      removed += static_cast<std::uint64_t>(db.changes());
      forget_manifest(db, digest);
    }
  });
  return removed;
}

void JobStore::for_each_manifest(const std::function<void(const std::string&)>& sink) {
  for (const char* sql : {"SELECT rowid, manifest FROM manifests WHERE rowid > ? ORDER BY rowid LIMIT 16",
                          "SELECT row, manifest FROM stage_outputs WHERE row > ? ORDER BY row LIMIT 16"}) {
    std::vector<std::string> page;  // so that other readers get their turn
    std::int64_t last = 0;
    do {
      page.clear();
      {
        const Reader reader(*readers_);
        Statement rows(reader.get(), sql);
        rows.bind(last);
        while (rows.row()) {
          last = rows.integer(0);
          page.push_back(rows.text(1));
        }
      }
      for (const auto& manifest : page) sink(manifest);
    } while (!page.empty());
  }
}

}  // namespace wring

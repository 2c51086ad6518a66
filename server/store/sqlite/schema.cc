// Numbered migrations; one that was released is never edited.
#include "server/store/sqlite/schema.h"

#include <array>
#include <string>

#include "common/error.h"
#include "server/store/sqlite/statement.h"

namespace wring {
namespace {

constexpr std::array<const char*, 5> kMigrations{R"sql(
  CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO meta VALUES('epoch', 1);
  CREATE TABLE jobs(
    id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, name TEXT NOT NULL, phase INTEGER NOT NULL, record TEXT NOT NULL,
    spec BLOB NOT NULL, normal_form TEXT NOT NULL, recipe_digest TEXT NOT NULL, fence_n INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX jobs_by_phase ON jobs(phase, sequence);
  CREATE TABLE requests(request_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE events(
    job_id TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT NOT NULL, phase INTEGER NOT NULL,
    attempt INTEGER NOT NULL, payload TEXT NOT NULL, PRIMARY KEY(job_id, number)) WITHOUT ROWID;
  CREATE TABLE stages(
    job_id TEXT NOT NULL, idx INTEGER NOT NULL, state TEXT NOT NULL, status BLOB NOT NULL,
    PRIMARY KEY(job_id, idx)) WITHOUT ROWID;
  CREATE TABLE evaluations(
    row INTEGER PRIMARY KEY, job_id TEXT NOT NULL, stage INTEGER NOT NULL, artifact TEXT NOT NULL, suite TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL NOT NULL, message BLOB NOT NULL);
  CREATE INDEX evaluations_by_job ON evaluations(job_id);
  CREATE INDEX evaluations_by_artifact ON evaluations(artifact);
  CREATE TABLE artifacts(
    row INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, message BLOB NOT NULL, manifest TEXT NOT NULL);
  CREATE TABLE workers(id TEXT PRIMARY KEY, message BLOB NOT NULL) WITHOUT ROWID;
)sql",
                                                 R"sql(
  ALTER TABLE jobs ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
  CREATE INDEX jobs_by_project ON jobs(project, sequence);
  CREATE TABLE shares(
    project TEXT NOT NULL, device TEXT NOT NULL, fence_n INTEGER NOT NULL, PRIMARY KEY(project, device)) WITHOUT ROWID;
)sql",
                                                 R"sql(
  CREATE TABLE pauses(kind INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;
)sql",
                                                 R"sql(
  ALTER TABLE artifacts ADD COLUMN expire_time INTEGER;
  CREATE INDEX artifacts_by_expiry ON artifacts(expire_time) WHERE expire_time IS NOT NULL;
)sql",
                                                 R"sql(
  CREATE TABLE stage_outputs(
    row INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    seconds REAL NOT NULL, used INTEGER NOT NULL, manifest TEXT NOT NULL, UNIQUE(project, key));
  CREATE INDEX stage_outputs_by_use ON stage_outputs(used);
)sql"};

}  // namespace

void migrate(sqlite3* database) {
  Statement version(database, "PRAGMA user_version");
  version.row();
  const auto current = static_cast<std::size_t>(version.integer(0));
  if (current > kMigrations.size())
    throw Error(ErrorCode::kFailedPrecondition, "NEWER_SCHEMA",
                "the job database has schema " + std::to_string(current) + ", this server knows up to " +
                    std::to_string(kMigrations.size()),
                "data", "Run the release that wrote it, or restore an older backup.");
  for (std::size_t i = current; i < kMigrations.size(); ++i) {
    execute(database, "BEGIN IMMEDIATE");
    execute(database, kMigrations[i]);
    execute(database, ("PRAGMA user_version = " + std::to_string(i + 1)).c_str());
    execute(database, "COMMIT");
  }
}

}  // namespace wring

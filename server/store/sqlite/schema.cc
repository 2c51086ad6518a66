// Numbered migrations; one that was released is never edited.
#include "server/store/sqlite/schema.h"

#include <array>
#include <string>

#include "common/error.h"
#include "server/store/job_models.h"
#include "server/store/statement.h"

namespace wring {
namespace {

constexpr std::array<const char*, 11> kMigrations{R"sql(
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
  CREATE TABLE manifests(digest TEXT NOT NULL UNIQUE, manifest TEXT NOT NULL);
  INSERT INTO manifests SELECT digest, manifest FROM artifacts;
  ALTER TABLE artifacts RENAME TO artifacts_4;
  CREATE TABLE artifacts(
    row INTEGER PRIMARY KEY, project TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, message BLOB NOT NULL,
    expire_time INTEGER, UNIQUE(digest, project));
  INSERT INTO artifacts SELECT row, 'default', digest, kind, message, expire_time FROM artifacts_4;
  INSERT OR IGNORE INTO artifacts(project, digest, kind, message, expire_time)
    SELECT j.project, a.digest, a.kind, a.message, a.expire_time
    FROM jobs j JOIN artifacts_4 a ON a.digest = json_extract(j.record, '$.result') WHERE j.project <> 'default';
  DROP TABLE artifacts_4;
  CREATE INDEX artifacts_by_expiry ON artifacts(expire_time) WHERE expire_time IS NOT NULL;
  CREATE INDEX artifacts_by_project ON artifacts(project, row);
  CREATE TABLE project_blobs(
    project TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY(project, digest)) WITHOUT ROWID;
  CREATE TABLE project_bytes(project TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TRIGGER project_gets_blob AFTER INSERT ON project_blobs BEGIN
    INSERT OR IGNORE INTO project_bytes VALUES(NEW.project, 0);
    UPDATE project_bytes SET bytes = bytes + NEW.size WHERE project = NEW.project;
  END;
  CREATE TRIGGER project_loses_blob AFTER DELETE ON project_blobs BEGIN
    UPDATE project_bytes SET bytes = bytes - OLD.size WHERE project = OLD.project;
  END;
  INSERT OR IGNORE INTO project_blobs
    SELECT a.project, json_extract(c.value, '$.sha256'), json_extract(c.value, '$.size'), unixepoch()
    FROM artifacts a JOIN manifests m ON m.digest = a.digest AND json_valid(m.manifest),
         json_each(m.manifest, '$.files') f, json_each(f.value, '$.chunks') c;
  CREATE TABLE quotas(
    project TEXT PRIMARY KEY, queued INTEGER NOT NULL, running INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE tokens(
    id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, scope INTEGER NOT NULL, project TEXT NOT NULL,
    create_time INTEGER NOT NULL, expire_time INTEGER NOT NULL, revoke_time INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE audit(
    row INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, caller TEXT NOT NULL, scope TEXT NOT NULL, project TEXT NOT NULL,
    method TEXT NOT NULL, object TEXT NOT NULL, outcome TEXT NOT NULL, request_id TEXT NOT NULL);
  CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
)sql",
                                                  R"sql(
  CREATE TABLE stage_outputs(
    row INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    seconds REAL NOT NULL, used INTEGER NOT NULL, manifest TEXT NOT NULL, UNIQUE(project, key));
  CREATE INDEX stage_outputs_by_use ON stage_outputs(used);
)sql",
                                                  R"sql(
  DROP INDEX jobs_by_phase;
  DROP INDEX jobs_by_project;
  CREATE INDEX jobs_by_phase ON jobs(phase, sequence, name);
  CREATE INDEX jobs_by_project ON jobs(project, phase, sequence, name);
)sql",
                                                  R"sql(
  CREATE TABLE sweeps(
    id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, project TEXT NOT NULL, phase INTEGER NOT NULL, record TEXT NOT NULL,
    spec BLOB NOT NULL, request_id TEXT, request_digest TEXT NOT NULL) WITHOUT ROWID;
  CREATE UNIQUE INDEX sweeps_by_request ON sweeps(request_id) WHERE request_id IS NOT NULL;
  CREATE TABLE trials(
    sweep TEXT NOT NULL, n INTEGER NOT NULL, job TEXT, phase INTEGER NOT NULL, bytes INTEGER NOT NULL DEFAULT 0,
    point TEXT NOT NULL, outcome TEXT, PRIMARY KEY(sweep, n)) WITHOUT ROWID;
  CREATE UNIQUE INDEX trials_by_job ON trials(job) WHERE job IS NOT NULL;
  CREATE INDEX trials_by_phase ON trials(sweep, phase, bytes);
  CREATE INDEX open_trials ON trials(sweep) WHERE phase = 0;
)sql",
                                                  R"sql(
  CREATE TABLE secrets(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  INSERT INTO secrets VALUES('page_tokens', randomblob(32));
  CREATE VIRTUAL TABLE job_names USING fts5(name, content = '', columnsize = 0, tokenize = 'trigram case_sensitive 1');
  INSERT INTO job_names(rowid, name) SELECT sequence, name FROM jobs ORDER BY sequence;
  CREATE TRIGGER job_gets_name AFTER INSERT ON jobs BEGIN
    INSERT INTO job_names(rowid, name) VALUES(NEW.sequence, NEW.name);
  END;
  CREATE TRIGGER job_loses_name AFTER DELETE ON jobs BEGIN
    INSERT INTO job_names(job_names, rowid, name) VALUES('delete', OLD.sequence, OLD.name);
  END;
)sql",
                                                  R"sql(
  CREATE TABLE log_lines(
    job_id TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY(job_id, number)) WITHOUT ROWID;
  ALTER TABLE stages ADD COLUMN key TEXT NOT NULL DEFAULT '';
  CREATE INDEX stages_by_key ON stages(key) WHERE state = 'done' AND key <> '';
)sql",
                                                  R"sql(
  ALTER TABLE jobs ADD COLUMN model TEXT NOT NULL DEFAULT '';
  CREATE INDEX jobs_by_model ON jobs(model, phase, sequence, project, name);
)sql"};

// Its statement is over when this returns: a migration may drop tables.
std::size_t schema_of(SqliteConnection& database) {
  Statement version(database, "PRAGMA user_version");
  version.row();
  return static_cast<std::size_t>(version.integer(0));
}

}  // namespace

std::size_t newest_schema() {
  return kMigrations.size();
}

void migrate(SqliteConnection& database) {
  migrate_to(newest_schema(), database);
}

void migrate_to(std::size_t schema, SqliteConnection& database) {
  const std::size_t current = schema_of(database);
  if (current > kMigrations.size())
    throw Error(ErrorCode::kFailedPrecondition, "NEWER_SCHEMA",
                "the job database has schema " + std::to_string(current) + ", this server knows up to " +
                    std::to_string(kMigrations.size()),
                "data", "Run the release that wrote it, or restore an older backup.");
  for (std::size_t i = current; i < schema; ++i) {
    database.begin();
    database.execute(kMigrations[i]);
    if (i + 1 == kSchemaOfModels) put_models(database);
    database.execute("PRAGMA user_version = " + std::to_string(i + 1));
    database.commit();
  }
}

}  // namespace wring

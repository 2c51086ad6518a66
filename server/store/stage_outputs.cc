// Stage outputs by project and key: rows of the job database.
#include <utility>

#include "server/store/artifact_rows.h"
#include "server/store/job_store.h"

namespace wring {
namespace {

// All that the shared stages of a project with a quota may take is half of it: those used longest ago go.
void trim_to_quota(Connection& db, const std::string& project) {
  Statement(db,
            "DELETE FROM stage_outputs WHERE row IN (SELECT row FROM (SELECT row, sum(bytes) "
            "OVER (ORDER BY used DESC, row DESC) AS newer FROM stage_outputs WHERE project = ?1) AS ranked "
            "WHERE newer > (SELECT bytes / 2 FROM quotas WHERE project = ?1 AND bytes > 0))")
      .bind(project)
      .run();
}

}  // namespace

std::optional<StageOutput> JobStore::stage_output(const std::string& project, const std::string& key) {
  const Reader reader(*readers_);
  Statement row(reader.get(),
                "SELECT manifest, digest, bytes, seconds FROM stage_outputs WHERE project = ? AND key = ?");
  row.bind(project).bind(key);
  if (!row.row()) return std::nullopt;
  return StageOutput{project,       key, row.text(0), row.text(1), static_cast<std::uint64_t>(row.integer(2)),
                     row.number(3), 0};
}

std::string JobStore::put_stage_output(const StageOutput& output) {
  std::string first;
  writer_
      ->write([&](Connection& db) {
        Statement(db,
                  "INSERT INTO stage_outputs(project, key, digest, bytes, seconds, used, manifest) "
                  "VALUES(?,?,?,?,?,?,?) ON CONFLICT DO NOTHING")
            .bind(output.project)
            .bind(output.key)
            .bind(output.digest)
            .bind(output.bytes)
            .bind(output.seconds)
            .bind(output.used)
            .bind(output.manifest)
            .run();
        Statement kept(db, "SELECT digest FROM stage_outputs WHERE project = ? AND key = ?");
        kept.bind(output.project).bind(output.key);
        if (kept.row()) first = kept.text(0);
        if (first == output.digest) own_chunks(db, output.project, output.manifest);
        trim_to_quota(db, output.project);
      })
      .get();
  return first;
}

void JobStore::use_stage_output(const std::string& project, const std::string& key, TimeMs now) {
  writer_->write([=](Connection& db) {
    Statement(db, "UPDATE stage_outputs SET used = ? WHERE project = ? AND key = ?")
        .bind(now)
        .bind(project)
        .bind(key)
        .run();
  });
}

void JobStore::remove_stage_output(const std::string& project, const std::string& key) {
  writer_
      ->write([&](Connection& db) {
        Statement(db, "DELETE FROM stage_outputs WHERE project = ? AND key = ?")
            .bind(project)
            .bind(key)
            .run();
      })
      .get();
}

std::uint64_t JobStore::trim_stage_outputs(TimeMs used_before, std::uint64_t max_bytes) {
  std::uint64_t removed = 0;
  writer_
      ->write([&](Connection& db) {
        Statement(
            db,
            "DELETE FROM stage_outputs WHERE used < ?1 OR row IN (SELECT row FROM (SELECT row, sum(bytes) "
            "OVER (ORDER BY used DESC, row DESC) AS newer FROM stage_outputs WHERE used >= ?1) AS ranked "
            "WHERE newer > CAST(?2 AS BIGINT))")
            .bind(used_before)
            .bind(max_bytes)
            .run();
        removed = static_cast<std::uint64_t>(db.changes());
      })
      .get();
  return removed;
}

StageOutputTotals JobStore::stage_output_totals(const Within& project) {
  const Reader reader(*readers_);
  Statement row(reader.get(),
                "SELECT count(*), coalesce(CAST(sum(bytes) AS BIGINT), 0) FROM stage_outputs "
                "WHERE ?1 = '' OR project = ?1");
  row.bind(project);
  row.row();
  return {static_cast<std::uint64_t>(row.integer(0)), static_cast<std::uint64_t>(row.integer(1))};
}

std::uint64_t JobStore::stored_bytes(const Within& project) {
  const Reader reader(*readers_);
  Statement row(reader.get(),
                "SELECT coalesce(CAST(sum(bytes) AS BIGINT), 0) FROM project_bytes "
                "WHERE ?1 = '' OR project = ?1");
  row.bind(project);
  row.row();
  return static_cast<std::uint64_t>(row.integer(0));
}

}  // namespace wring

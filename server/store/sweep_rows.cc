// Sweeps and trials in and out of the job database.
#include "server/store/sweep_rows.h"

#include "common/error.h"

namespace wring {
namespace {

Json to_json(const SweepRecord& r) {
  return {{"create_time", r.create_time}, {"end_time", r.end_time},   {"version", r.version},
          {"trials", r.trials},           {"bytes", r.bytes},         {"seconds", r.seconds},
          {"extents", r.extents},         {"exhausted", r.exhausted}, {"end_reason", r.end_reason}};
}

// Columns: id, sequence, project, phase, record, spec.
StoredSweep read_sweep(Statement& row) {
  StoredSweep sweep;
  SweepRecord& r = sweep.record;
  r.id = row.text(0);
  r.sequence = static_cast<std::uint64_t>(row.integer(1));
  r.project = row.text(2);
  r.phase = static_cast<SweepPhase>(row.integer(3));
  const Json json = Json::parse(row.text(4));
  r.create_time = json_at<TimeMs>(json, "create_time", "sweep");
  r.end_time = json_at<TimeMs>(json, "end_time", "sweep");
  r.version = json_at<std::uint64_t>(json, "version", "sweep");
  r.trials = json_at<std::uint64_t>(json, "trials", "sweep");
  r.bytes = json_at<std::uint64_t>(json, "bytes", "sweep");
  r.seconds = json_at<double>(json, "seconds", "sweep");
  r.extents = json_at<std::vector<std::uint64_t>>(json, "extents", "sweep");
  r.exhausted = json_at<bool>(json, "exhausted", "sweep");
  r.end_reason = json_at<std::string>(json, "end_reason", "sweep");
  sweep.spec.ParseFromString(row.text(5));
  return sweep;
}

// Columns: sweep, number, job, phase of the job or NULL.
TrialEnd read_end(Statement& row) {
  return {row.text(0), row.text(2), static_cast<std::uint64_t>(row.integer(1)),
          row.is_null(3) ? 0 : static_cast<int>(row.integer(3))};
}

}  // namespace

void put_trial(Connection& db, const NewTrial& trial, const std::string& job) {
  Statement(db, "INSERT INTO trials(sweep, n, job, phase, point) VALUES(?,?,?,0,?)")
      .bind(trial.sweep)
      .bind(trial.number)
      .bind(job)
      .bind(trial.point.dump())
      .run();
}

void put_failed_trial(Connection& db, const NewTrial& trial, const Json& error) {
  Statement(db, "INSERT INTO trials(sweep, n, job, phase, point, outcome) VALUES(?,?,NULL,?,?,?)")
      .bind(trial.sweep)
      .bind(trial.number)
      .bind(static_cast<int>(JobPhase::kFailed))
      .bind(trial.point.dump())
      .bind(Json{{"error", error}}.dump())
      .run();
}

void put_trial_end(Connection& db, const TrialEnd& end, const Json& outcome) {
  Statement(db, "UPDATE trials SET phase = ?, bytes = ?, outcome = ? WHERE sweep = ? AND n = ?")
      .bind(end.phase)
      .bind(json_or<std::uint64_t>(outcome, "bytes", 0))
      .bind(outcome.dump())
      .bind(end.sweep)
      .bind(end.number)
      .run();
}

void put_sweep(Connection& db, const StoredSweep& sweep, const std::string& request_id,
               const std::string& request_digest) {
  Statement row(db,
                "INSERT INTO sweeps(id, sequence, project, phase, record, spec, request_id, request_digest) "
                "VALUES(?,?,?,?,?,?,?,?)");
  row.bind(sweep.record.id)
      .bind(sweep.record.sequence)
      .bind(sweep.record.project)
      .bind(static_cast<int>(sweep.record.phase))
      .bind(to_json(sweep.record).dump())
      .bind(sweep.spec.SerializeAsString());
  request_id.empty() ? row.bind_null() : row.bind(request_id);
  row.bind(request_digest).run();
}

void update_sweep(Connection& db, const SweepRecord& record) {
  Statement(db, "UPDATE sweeps SET phase = ?, record = ? WHERE id = ?")
      .bind(static_cast<int>(record.phase))
      .bind(to_json(record).dump())
      .bind(record.id)
      .run();
}

void remove_sweep(Connection& db, const std::string& id) {
  Statement(db, "DELETE FROM trials WHERE sweep = ?").bind(id).run();
  Statement(db, "DELETE FROM sweeps WHERE id = ?").bind(id).run();
}

std::optional<StoredSweep> find_sweep(Connection& db, const std::string& id) {
  Statement row(db, "SELECT id, sequence, project, phase, record, spec FROM sweeps WHERE id = ?");
  row.bind(id);
  if (!row.row()) return std::nullopt;
  return read_sweep(row);
}

std::optional<std::pair<std::string, std::string>> find_sweep_request(Connection& db,
                                                                      const std::string& request_id) {
  Statement row(db, "SELECT id, request_digest FROM sweeps WHERE request_id = ?");
  row.bind(request_id);
  if (!row.row()) return std::nullopt;
  return std::pair{row.text(0), row.text(1)};
}

std::string resolve_sweep(Connection& db, const std::string& prefix, const Within& project,
                          const char* field) {
  std::vector<std::string> found;
  if (prefix.size() >= 3) {
    Statement rows(db,
                   "SELECT id FROM sweeps WHERE id >= ?1 AND id < ?1 || '~' AND (?2 = '' OR project = ?2) "
                   "ORDER BY id LIMIT 2");
    rows.bind(prefix).bind(project);
    while (rows.row()) found.push_back(rows.text(0));
  }
  if (found.empty())
    throw Error(ErrorCode::kNotFound, "SWEEP_NOT_FOUND", "there is no sweep " + prefix.substr(0, 80), field);
  if (found.size() > 1 && found.front() != prefix)
    throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS", "several sweeps begin with " + prefix, field,
                "Give more of the id: " + found[0] + ", " + found[1] + ", ...");
  return found.front();
}

std::vector<StoredSweep> list_sweeps(Connection& db, const Within& project, std::uint64_t before_sequence,
                                     int limit) {
  Statement rows(db,
                 "SELECT id, sequence, project, phase, record, spec FROM sweeps "
                 "WHERE sequence < ?1 AND (?2 = '' OR project = ?2) ORDER BY sequence DESC LIMIT ?3");
  rows.bind(before_sequence ? static_cast<std::int64_t>(before_sequence) : INT64_MAX)
      .bind(project)
      .bind(limit);
  std::vector<StoredSweep> sweeps;
  while (rows.row()) sweeps.push_back(read_sweep(rows));
  return sweeps;
}

std::vector<std::string> open_sweeps(Connection& db) {
  Statement rows(db, "SELECT id FROM sweeps WHERE phase <= 4 ORDER BY sequence");
  std::vector<std::string> ids;
  while (rows.row()) ids.push_back(rows.text(0));
  return ids;
}

std::uint64_t highest_sweep_sequence(Connection& db) {
  Statement row(db, "SELECT max(sequence) FROM sweeps");
  return row.row() ? static_cast<std::uint64_t>(row.integer(0)) : 0;
}

std::vector<TrialRow> list_trials(Connection& db, const std::string& sweep, std::uint64_t from, int limit) {
  Statement rows(db,
                 "SELECT t.n, t.job, t.phase, t.point, t.outcome, j.phase FROM trials t "
                 "LEFT JOIN jobs j ON j.id = t.job WHERE t.sweep = ? AND t.n >= ? ORDER BY t.n LIMIT ?");
  rows.bind(sweep).bind(from).bind(limit);
  std::vector<TrialRow> trials;
  while (rows.row()) {
    TrialRow trial{sweep,
                   static_cast<std::uint64_t>(rows.integer(0)),
                   rows.is_null(1) ? "" : rows.text(1),
                   static_cast<int>(rows.integer(2)),
                   Json::parse(rows.text(3)),
                   Json::object()};
    if (!rows.is_null(4)) trial.outcome = Json::parse(rows.text(4));
    if (!rows.is_null(5)) trial.phase = static_cast<int>(rows.integer(5));
    trials.push_back(std::move(trial));
  }
  return trials;
}

TrialCounts count_trials(Connection& db, const std::string& sweep) {
  TrialCounts counts;
  std::uint64_t deleted = 0;  // jobs, before their end was noted
  const auto of = [&](std::int64_t phase) -> std::uint64_t& {
    switch (static_cast<JobPhase>(phase)) {
      case JobPhase::kQueued:
        return counts.queued;
      case JobPhase::kRunning:
      case JobPhase::kCancelling:
        return counts.running;
      case JobPhase::kSucceeded:
        return counts.succeeded;
      case JobPhase::kFailed:
        return counts.failed;
      case JobPhase::kCancelled:
        return counts.cancelled;
    }
    return deleted;
  };
  // One statement, as a trial whose end is noted between two would be in neither.
  Statement rows(
      db,
      "SELECT phase, count(*), CAST(sum(bytes) AS BIGINT) FROM trials WHERE sweep = ?1 AND phase > 0 "
      "GROUP BY phase UNION ALL "
      "SELECT coalesce(j.phase, 0), count(*), CAST(0 AS BIGINT) FROM trials t LEFT JOIN jobs j "
      "ON j.id = t.job WHERE t.sweep = ?1 AND t.phase = 0 GROUP BY 1");
  rows.bind(sweep);
  while (rows.row()) {
    of(rows.integer(0)) += static_cast<std::uint64_t>(rows.integer(1));
    counts.made += static_cast<std::uint64_t>(rows.integer(1));
    counts.bytes += static_cast<std::uint64_t>(rows.integer(2));
  }
  return counts;
}

TrialSavings sum_savings(Connection& db, const std::string& sweep) {
  TrialSavings saved;
  Statement done(db,
                 "SELECT count(*) FROM trials t JOIN stages s ON s.job_id = t.job "
                 "WHERE t.sweep = ? AND s.state = 'done'");
  done.bind(sweep);
  done.row();
  saved.stages = static_cast<std::uint64_t>(done.integer(0));
  Statement cached(db,
                   "SELECT s.status FROM trials t JOIN stages s ON s.job_id = t.job "
                   "WHERE t.sweep = ? AND s.state = 'cached'");
  cached.bind(sweep);
  while (cached.row()) {
    v1::StageStatus stage;
    stage.ParseFromString(cached.text(0));
    ++saved.stages;
    ++saved.cached;
    saved.bytes += stage.cached_bytes();
    saved.seconds += std::max(0.0, stage.saved_seconds());
  }
  return saved;
}

std::vector<std::string> open_trial_jobs(Connection& db, const std::string& sweep) {
  Statement rows(db, "SELECT job FROM trials WHERE sweep = ? AND phase = 0");
  rows.bind(sweep);
  std::vector<std::string> jobs;
  while (rows.row()) jobs.push_back(rows.text(0));
  return jobs;
}

std::vector<TrialEnd> ends_to_note(Connection& db, bool all) {
  const char* const of_open =
      "SELECT t.sweep, t.n, t.job, j.phase FROM trials t LEFT JOIN jobs j ON j.id = t.job "
      "WHERE t.phase = 0 AND (j.phase IS NULL OR j.phase >= 4) ORDER BY t.sweep, t.n";
  const char* const of_all =
      "SELECT t.sweep, t.n, t.job, j.phase FROM trials t LEFT JOIN jobs j ON j.id = t.job "
      "WHERE (t.phase = 0 AND j.phase IS NULL) OR (j.phase >= 4 AND j.phase <> t.phase) ORDER BY t.sweep, "
      "t.n";
  Statement rows(db, all ? of_all : of_open);
  std::vector<TrialEnd> ends;
  while (rows.row()) ends.push_back(read_end(rows));
  return ends;
}

std::optional<std::pair<std::string, std::uint64_t>> trial_of_job(Connection& db, const std::string& job) {
  Statement row(db, "SELECT sweep, n FROM trials WHERE job = ?");
  row.bind(job);
  if (!row.row()) return std::nullopt;
  return std::pair{row.text(0), static_cast<std::uint64_t>(row.integer(1))};
}

std::optional<TrialEnd> end_to_note(Connection& db, const std::string& job) {
  Statement row(db,
                "SELECT t.sweep, t.n, t.job, j.phase FROM trials t JOIN jobs j ON j.id = t.job "
                "WHERE t.job = ? AND j.phase >= 4 AND j.phase <> t.phase");
  row.bind(job);
  if (!row.row()) return std::nullopt;
  return read_end(row);
}

void add_inputs_of_open_sweeps(Connection& db, std::set<std::pair<std::string, std::string>>& inputs) {
  Statement rows(db, "SELECT spec, project FROM sweeps WHERE phase <= 4");
  while (rows.row()) {
    v1::SweepSpec spec;
    spec.ParseFromString(rows.text(0));
    for (const auto& [text, digest] : spec.inputs()) inputs.emplace(digest, rows.text(1));
  }
}

}  // namespace wring

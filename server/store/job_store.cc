// Rows in and out of the job database.
#include "server/store/job_store.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <span>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "server/store/artifact_rows.h"
#include "server/store/audit_rows.h"
#include "server/store/place.h"
#include "server/store/record_json.h"
#include "server/store/sweep_rows.h"

namespace wring {
namespace {

// So many jobs of a name are read one by one; where there are more, a page of them is soon found in order.
constexpr int kFewNames = 1000;

void put_job(Connection& db, const StoredJob& job) {
  Statement(db,
            "INSERT INTO jobs(id, sequence, name, phase, record, spec, normal_form, recipe_digest, fence_n, "
            "project, model) "
            "VALUES(?,?,?,?,?,?,?,?,?,?,?)")
      .bind(job.record.id)
      .bind(job.record.sequence)
      .bind(job.spec.name())
      .bind(static_cast<int>(job.record.phase))
      .bind(to_json(job.record).dump())
      .bind(job.spec.SerializeAsString())
      .bind(job.normal_form)
      .bind(job.recipe_digest)
      .bind(job.record.fence.n)
      .bind(job.record.project)
      .bind(job.spec.model())
      .run();
}

void put_changed(Connection& db, std::span<const JobRecord> changed) {
  for (const auto& record : changed)
    Statement(db, "UPDATE jobs SET phase = ?, record = ?, fence_n = ? WHERE id = ?")
        .bind(static_cast<int>(record.phase))
        .bind(to_json(record).dump())
        .bind(record.fence.n)
        .bind(record.id)
        .run();
}

void put_outcome(Connection& db, const Outcome& outcome) {
  if (const auto& pause = outcome.pause)
    Statement(db, pause->paused ? "INSERT INTO pauses VALUES(?,?) ON CONFLICT DO NOTHING"
                                : "DELETE FROM pauses WHERE kind = ? AND name = ?")
        .bind(static_cast<int>(pause->kind))
        .bind(pause->name)
        .run();
  if (const auto& quota = outcome.quota)
    Statement(
        db,
        "INSERT INTO quotas VALUES(?,?,?,?) ON CONFLICT(project) DO UPDATE SET queued = excluded.queued, "
        "running = excluded.running, bytes = excluded.bytes")
        .bind(quota->first)
        .bind(quota->second.queued)
        .bind(quota->second.running)
        .bind(quota->second.bytes)
        .run();
  if (outcome.leased)
    Statement(db,
              "INSERT INTO shares VALUES(?,?,?) ON CONFLICT(project, device) DO UPDATE SET fence_n = "
              "excluded.fence_n")
        .bind(outcome.leased->project)
        .bind(outcome.leased->needs.device)
        .bind(outcome.leased->fence.n)
        .run();
  if (outcome.leased && outcome.leased->fence.n > kTurnsRemembered)
    Statement(db, "DELETE FROM shares WHERE fence_n <= ?")
        .bind(outcome.leased->fence.n - kTurnsRemembered)
        .run();
  for (const auto& event : outcome.events)
    Statement(db, "INSERT INTO events VALUES(?,?,?,?,?,?,?)")
        .bind(event.job)
        .bind(event.number)
        .bind(event.time)
        .bind(event.type)
        .bind(static_cast<int>(event.phase))
        .bind(static_cast<std::uint64_t>(event.attempt))
        .bind(event.payload.dump())
        .run();
  for (const auto& worker : outcome.forgotten)
    Statement(db, "DELETE FROM workers WHERE id = ?").bind(worker).run();
}

// A cached stage has the report of a job of its project that ran it.
void fill_report(Connection& db, const std::string& job, v1::StageStatus& stage) {
  Statement row(
      db,
      "SELECT s.status FROM stages s JOIN jobs j ON j.id = s.job_id WHERE s.key = ?1 AND s.key <> '' "
      "AND s.state = 'done' AND j.project = (SELECT project FROM jobs WHERE id = ?2) LIMIT 1");
  row.bind(stage.key()).bind(job);
  v1::StageStatus made;
  if (row.row() && made.ParseFromString(row.text(0))) stage.set_report_json(made.report_json());
}

void put_stage(Connection& db, const std::string& job, v1::StageStatus stage) {
  if (stage.state() == "cached" && !stage.key().empty()) fill_report(db, job, stage);
  Statement(db,
            "INSERT INTO stages(job_id, idx, state, status, key) VALUES(?,?,?,?,?) "
            "ON CONFLICT(job_id, idx) DO UPDATE SET "
            "state = excluded.state, status = excluded.status, key = excluded.key "
            "WHERE NOT (excluded.state = 'pending' AND stages.state IN ('done', 'cached'))")
      .bind(job)
      .bind(static_cast<std::uint64_t>(stage.index()))
      .bind(stage.state())
      .bind(stage.SerializeAsString())
      .bind(stage.key())
      .run();
}

void put_evaluations(Connection& db, const std::string& job, const StoreBatch& batch) {
  if (batch.all_evaluations)
    Statement(db, "DELETE FROM evaluations WHERE job_id = ?").bind(job).run();
  else if (!batch.evaluations.empty())
    Statement(db, "DELETE FROM evaluations WHERE job_id = ? AND stage = ?")
        .bind(job)
        .bind(batch.evaluations_of_stage)
        .run();
  for (const auto& row : batch.evaluations)
    Statement(db,
              "INSERT INTO evaluations(job_id, stage, artifact, suite, metric, value, message) "
              "VALUES(?,?,?,?,?,?,?)")
        .bind(job)
        .bind(batch.evaluations_of_stage)
        .bind(row.artifact())
        .bind(row.suite())
        .bind(row.metric())
        .bind(row.value())
        .bind(row.SerializeAsString())
        .run();
}

void put_submitted(Connection& db, const StoreBatch& batch) {
  put_job(db, *batch.submitted);
  const v1::JobSpec& spec = batch.submitted->spec;
  share_artifact(db, spec.model(), batch.submitted->record.project);
  for (const auto& [name, digest] : spec.data()) share_artifact(db, digest, batch.submitted->record.project);
  if (batch.trial) put_trial(db, *batch.trial, batch.submitted->record.id);
  if (batch.request_id.empty()) return;
  Statement(db, "INSERT INTO requests VALUES(?,?,?)")
      .bind(batch.request_id)
      .bind(batch.submitted->record.id)
      .bind(batch.request_digest)
      .run();
}

void put_batch(Connection& db, const StoreBatch& batch) {
  if (batch.submitted) put_submitted(db, batch);
  put_changed(db, std::span(batch.outcome.changed).subspan(batch.submitted ? 1 : 0));  // it is the first one
  put_outcome(db, batch.outcome);
  if (!batch.outcome.changed.empty()) {
    const std::string& job = batch.outcome.changed.front().id;
    for (const auto& stage : batch.stages) put_stage(db, job, stage);
    put_evaluations(db, job, batch);
    if (!batch.made.empty()) put_made(db, batch.made, batch.outcome.changed.front());
  }
  for (const auto& artifact : batch.artifacts) put_artifact(db, artifact);
  if (batch.worker)
    Statement(db, "INSERT INTO workers VALUES(?,?) ON CONFLICT(id) DO UPDATE SET message = excluded.message")
        .bind(batch.worker->id())
        .bind(batch.worker->SerializeAsString())
        .run();
}

StoredJob read_job(Statement& row) {
  StoredJob job;
  job.record = record_from_json(Json::parse(row.text(0)));
  job.spec.ParseFromString(row.text(1));
  job.normal_form = row.text(2);
  job.recipe_digest = row.text(3);
  return job;
}

std::string secret(Connection& db, const char* name) {
  Statement row(db, "SELECT value FROM secrets WHERE name = ?");
  row.bind(name);
  return row.row() ? row.text(0) : "";
}

// As an FTS5 query: the text as it is, at least the three characters of a trigram.
std::optional<std::string> phrase_of(const std::string& text) {
  const auto begins_character = [](char c) { return (c & 0xC0) != 0x80; };  // of UTF-8
  if (std::count_if(text.begin(), text.end(), begins_character) < 3) return std::nullopt;
  if (text.find('\0') != std::string::npos) return std::nullopt;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

// The sequences of all jobs whose names have the text, as a JSON list; nullopt where they are many, or the
// index cannot tell.
std::optional<std::string> few_with_name(Connection& db, const JobFilter& filter) {
  if (!db.finds_names()) return std::nullopt;
  const auto phrase = phrase_of(filter.name_contains);
  if (!phrase) return std::nullopt;
  Statement rows(db, "SELECT rowid FROM job_names WHERE job_names MATCH ? LIMIT ?");
  rows.bind(*phrase).bind(kFewNames + 1);
  Json sequences = Json::array();
  while (rows.row()) sequences.push_back(rows.integer(0));
  if (sequences.size() > kFewNames) return std::nullopt;
  return sequences.dump();
}

std::string listed(const std::set<JobPhase>& phases) {
  std::string list;
  for (const auto phase : phases)
    list += (list.empty() ? "" : ", ") + std::to_string(static_cast<int>(phase));
  return list;
}

std::string trials_left_out(const JobFilter& filter) {
  return filter.no_trials ? " AND NOT EXISTS (SELECT 1 FROM trials WHERE trials.job = jobs.id)" : "";
}

// Conditions of jobs(): of sequences before ?1, at most ?2; of project ?3, names with ?4, the sequences in
// ?5, model ?6.
std::string among_few(const std::set<JobPhase>& phases, const JobFilter& filter) {
  return "sequence IN (SELECT value FROM json_each(?5)) AND +sequence < ?1 AND +phase IN (" + listed(phases) +
         ") AND (?3 = '' OR project = ?3) AND instr(name, ?4) > 0 AND (?6 = '' OR model = ?6)" +
         trials_left_out(filter);
}

// The newest of each phase come from an index each, and the newest of these are read whole. ?1 and ?2 as
// above; project, name and model, where they are asked for, come as the next ones. A model's jobs come from
// its index, whose project is not to be looked for in that of projects: an expression is in none.
std::string newest_of_each(const std::set<JobPhase>& phases, const JobFilter& filter) {
  std::string conditions, newest;
  int next = 3;
  if (!filter.project.empty())
    conditions +=
        (filter.model.empty() ? " AND project = ?" : " AND project || '' = ?") + std::to_string(next++);
  if (!filter.name_contains.empty()) conditions += " AND instr(name, ?" + std::to_string(next++) + ") > 0";
  if (!filter.model.empty()) conditions += " AND model = ?" + std::to_string(next);
  conditions += trials_left_out(filter);
  for (const auto phase : phases) {
    newest += newest.empty() ? "" : " UNION ALL ";
    newest += "SELECT * FROM (SELECT sequence, id FROM jobs WHERE phase = " +
              std::to_string(static_cast<int>(phase)) + " AND sequence < ?1" + conditions +
              " ORDER BY sequence DESC LIMIT ?2) AS newest" + std::to_string(static_cast<int>(phase));
  }
  return "id IN (SELECT id FROM (" + newest + " ORDER BY sequence DESC LIMIT ?2) AS newest)";
}

// Of sweep ?5; the others as above. Trials are submitted in the order of their numbers.
std::string of_sweep(const std::set<JobPhase>& phases) {
  return "id IN (SELECT j.id FROM trials t JOIN jobs j ON j.id = t.job WHERE t.sweep = ?5 AND j.sequence < "
         "?1 "
         "AND j.phase IN (" +
         listed(phases) +
         ") AND (?3 = '' OR j.project = ?3) AND (?4 = '' OR instr(j.name, ?4) > 0) AND (?6 = '' OR j.model = "
         "?6) "
         "ORDER BY t.n DESC LIMIT ?2)";
}

}  // namespace

JobStore::JobStore(const std::filesystem::path& folder) : JobStore(open_database(folder)) {}

JobStore::JobStore(std::unique_ptr<Database> database)
    : database_(std::move(database)), write_connection_(database_->connect_to_write()) {
  page_key_ = secret(*write_connection_, "page_tokens");
  readers_ = std::make_unique<Readers>(*database_);
  writer_ = std::make_unique<Writer>(*write_connection_);
}

JobStore::~JobStore() = default;

std::string JobStore::id() const {
  return sha256("the database of " + page_key_).hex().substr(0, 32);
}

bool JobStore::is_empty() {
  return read([](Connection& db) {
    return !Statement(db, "SELECT 1 FROM manifests UNION ALL SELECT 1 FROM jobs LIMIT 1").row();
  });
}

std::future<void> JobStore::asked_for(std::function<void(Connection&)> action) {
  auto note = AuditNote::take();
  if (!note) return writer_->write(std::move(action));
  return writer_->write([action = std::move(action), note = std::move(*note)](Connection& db) {
    action(db);
    put_audit_entry(db, note);
  });
}

std::future<void> JobStore::write(StoreBatch batch) {
  return asked_for(
      [batch = std::make_shared<StoreBatch>(std::move(batch))](Connection& db) { put_batch(db, *batch); });
}

void JobStore::remove_job(const std::string& id) {
  change([id](Connection& db) {
    for (const char* sql :
         {"DELETE FROM jobs WHERE id = ?", "DELETE FROM events WHERE job_id = ?",
          "DELETE FROM stages WHERE job_id = ?", "DELETE FROM evaluations WHERE job_id = ?",
          "DELETE FROM requests WHERE job_id = ?", "DELETE FROM log_lines WHERE job_id = ?"})
      Statement(db, sql).bind(id).run();
  });
}

std::vector<StoredJob> JobStore::load_open_jobs() {
  const Reader reader(*readers_);
  Statement rows(
      reader.get(),
      "SELECT record, spec, normal_form, recipe_digest FROM jobs WHERE phase IN (1, 2, 3) ORDER BY sequence");
  std::vector<StoredJob> jobs;
  while (rows.row()) jobs.push_back(read_job(rows));
  return jobs;
}

namespace {

std::uint64_t single(Connection& db, const char* sql) {
  Statement row(db, sql);
  return row.row() ? static_cast<std::uint64_t>(row.integer(0)) : 0;
}

}  // namespace

std::uint64_t JobStore::highest_sequence() {
  const Reader reader(*readers_);
  return single(reader.get(), "SELECT max(sequence) FROM jobs");
}
std::uint64_t JobStore::highest_fence() {
  const Reader reader(*readers_);
  return single(reader.get(),  // every lease leaves its fence with its share: no scan of all jobs
                "SELECT coalesce((SELECT max(fence_n) FROM shares), (SELECT max(fence_n) FROM jobs))");
}
std::uint64_t JobStore::epoch() {
  const Reader reader(*readers_);
  return single(reader.get(), "SELECT value FROM meta WHERE key = 'epoch'");
}

std::map<ShareKey, std::uint64_t> JobStore::served() {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT project, device, fence_n FROM shares");
  std::map<ShareKey, std::uint64_t> served;
  while (rows.row()) served[{rows.text(0), rows.text(1)}] = static_cast<std::uint64_t>(rows.integer(2));
  return served;
}

std::optional<StoredJob> JobStore::job(const std::string& id) {
  const Reader reader(*readers_);
  Statement row(reader.get(), "SELECT record, spec, normal_form, recipe_digest FROM jobs WHERE id = ?");
  row.bind(id);
  if (!row.row()) return std::nullopt;
  return read_job(row);
}

std::string JobStore::resolve_job(const std::string& prefix, const Within& project) {
  const Reader reader(*readers_);
  std::vector<std::string> found;
  if (prefix.size() >= 3) {
    Statement rows(reader.get(),
                   "SELECT id FROM jobs WHERE id >= ?1 AND id < ?1 || '~' AND (?2 = '' OR project = ?2) "
                   "ORDER BY id LIMIT 2");
    rows.bind(prefix).bind(project);
    while (rows.row()) found.push_back(rows.text(0));
  }
  if (found.empty())
    throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + prefix.substr(0, 80), "id");
  if (found.size() > 1 && found.front() != prefix)
    throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS", "several jobs begin with " + prefix, "id",
                "Give more of the id: " + found[0] + ", " + found[1] + ", ...");
  return found.front();
}

std::vector<StoredJob> JobStore::jobs(const JobFilter& filter) {
  std::set<JobPhase> phases(filter.phases.begin(), filter.phases.end());
  if (phases.empty()) phases.insert(std::begin(kPhases), std::end(kPhases));
  const Reader reader(*readers_);
  const bool trials = !filter.sweep.empty();
  const auto few = trials ? std::optional(filter.sweep) : few_with_name(reader.get(), filter);
  const std::string sql = "SELECT record, spec, normal_form, recipe_digest FROM jobs WHERE " +
                          (trials ? of_sweep(phases)
                           : few  ? among_few(phases, filter)
                                  : newest_of_each(phases, filter)) +
                          " ORDER BY sequence DESC LIMIT ?2";
  Statement rows(reader.get(), sql.c_str());
  rows.bind(filter.before_sequence ? static_cast<std::int64_t>(filter.before_sequence) : INT64_MAX)
      .bind(filter.limit);
  if (few || !filter.project.empty()) rows.bind(filter.project);
  if (few || !filter.name_contains.empty()) rows.bind(filter.name_contains);
  if (few) rows.bind(*few);
  if (few || !filter.model.empty()) rows.bind(filter.model);
  std::vector<StoredJob> jobs;
  while (rows.row()) jobs.push_back(read_job(rows));
  return jobs;
}

std::optional<std::pair<std::string, std::string>> JobStore::request(const std::string& request_id) {
  const Reader reader(*readers_);
  Statement row(reader.get(), "SELECT job_id, digest FROM requests WHERE request_id = ?");
  row.bind(request_id);
  if (!row.row()) return std::nullopt;
  return std::pair{row.text(0), row.text(1)};
}

std::vector<JobEvent> JobStore::events(const std::string& job, std::uint64_t after, int limit) {
  const Reader reader(*readers_);
  Statement rows(reader.get(),
                 "SELECT number, time, type, phase, attempt, payload FROM events WHERE job_id = ? AND number "
                 "> ? ORDER BY number LIMIT ?");
  rows.bind(job).bind(after).bind(limit);
  std::vector<JobEvent> events;
  while (rows.row())
    events.push_back({job, static_cast<std::uint64_t>(rows.integer(0)), rows.integer(1), rows.text(2),
                      static_cast<JobPhase>(rows.integer(3)), static_cast<std::uint32_t>(rows.integer(4)),
                      Json::parse(rows.text(5))});
  return events;
}

std::vector<v1::StageStatus> JobStore::stages(const std::string& job) {
  return std::move(stages(std::vector{job})[job]);
}

std::map<std::string, std::vector<v1::StageStatus>> JobStore::stages(const std::vector<std::string>& jobs) {
  const Reader reader(*readers_);
  Statement rows(reader.get(),
                 "SELECT job_id, status FROM stages WHERE job_id IN (SELECT value FROM json_each(?)) "
                 "ORDER BY job_id, idx");
  rows.bind(Json(jobs).dump());
  std::map<std::string, std::vector<v1::StageStatus>> stages;
  while (rows.row()) stages[rows.text(0)].emplace_back().ParseFromString(rows.text(1));
  return stages;
}

EvaluationPage JobStore::evaluations(const EvaluationFilter& filter) {
  std::string sql = "SELECT row, message FROM evaluations WHERE row > ?";
  const std::pair<const char*, const std::string*> columns[] = {{"job_id", &filter.job},
                                                                {"artifact", &filter.artifact},
                                                                {"suite", &filter.suite},
                                                                {"metric", &filter.metric}};
  for (const auto& [column, value] : columns)
    if (!value->empty()) sql += std::string(" AND ") + column + " = ?";
  if (!filter.project.empty())
    sql += " AND EXISTS (SELECT 1 FROM jobs WHERE id = evaluations.job_id AND project = ?)";
  sql += " ORDER BY row LIMIT ?";
  const Reader reader(*readers_);
  Statement rows(reader.get(), sql.c_str());
  rows.bind(filter.after_row);
  for (const auto& [column, value] : columns)
    if (!value->empty()) rows.bind(*value);
  if (!filter.project.empty()) rows.bind(filter.project);
  rows.bind(filter.limit);
  EvaluationPage page;
  while (rows.row()) {
    page.last_row = rows.integer(0);
    page.rows.emplace_back().ParseFromString(rows.text(1));
  }
  return page;
}

void JobStore::add_log_lines(const std::string& job, std::vector<std::string> lines, TimeMs now) {
  if (writer_->waits_for_space()) return;  // they would wait in memory
  change_later([job, lines = std::move(lines), now](Connection& db) {
    Statement newest(db, "SELECT coalesce(max(number), 0) FROM log_lines WHERE job_id = ?");
    newest.bind(job);
    newest.row();
    std::int64_t number = newest.integer(0);
    for (const auto& line : lines)
      Statement(db,
                "INSERT INTO log_lines SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ?1)")
          .bind(job)
          .bind(++number)
          .bind(now)
          .bind(line)
          .run();
    Statement(db, "DELETE FROM log_lines WHERE job_id = ? AND number <= ?")
        .bind(job)
        .bind(number - kLogLines)
        .run();
  });
}

std::vector<v1::LogLine> JobStore::log_lines(const std::string& job, std::uint64_t after) {
  const Reader reader(*readers_);
  Statement rows(reader.get(),
                 "SELECT number, time, text FROM log_lines WHERE job_id = ? AND number > ? ORDER BY number");
  rows.bind(job).bind(after);
  std::vector<v1::LogLine> lines;
  while (rows.row()) {
    auto& line = lines.emplace_back();
    line.set_number(static_cast<std::uint64_t>(rows.integer(0)));
    *line.mutable_time() = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(rows.integer(1));
    line.set_text(rows.text(2));
  }
  return lines;
}

std::vector<v1::Worker> JobStore::workers() {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT message FROM workers ORDER BY id");
  std::vector<v1::Worker> workers;
  while (rows.row()) workers.emplace_back().ParseFromString(rows.text(0));
  return workers;
}

std::set<std::string> JobStore::paused(PauseRecord::Kind kind) {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT name FROM pauses WHERE kind = ?");
  rows.bind(static_cast<int>(kind));
  std::set<std::string> names;
  while (rows.row()) names.insert(rows.text(0));
  return names;
}

std::map<std::string, Quota> JobStore::quotas() {
  const Reader reader(*readers_);
  Statement rows(reader.get(), "SELECT project, queued, running, bytes FROM quotas");
  std::map<std::string, Quota> quotas;
  while (rows.row())
    quotas[rows.text(0)] = {static_cast<std::uint64_t>(rows.integer(1)),
                            static_cast<std::uint64_t>(rows.integer(2)),
                            static_cast<std::uint64_t>(rows.integer(3))};
  return quotas;
}

void JobStore::check_space() const {
  if (writer_->waits_for_space())
    throw Error(ErrorCode::kResourceExhausted, "DISK_FULL", "the server's disk is full", "",
                "Free space there; it goes on by itself.");
}

}  // namespace wring

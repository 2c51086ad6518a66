// The job database: jobs, events, stages, evaluations, artifacts; one batched writer.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/fair_shared_mutex.h"
#include "server/scheduler/scheduler.h"
#include "server/store/database.h"
#include "server/store/readers.h"
#include "server/store/statement.h"
#include "server/store/writer.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

// A job as it is stored: the scheduler's record and what was submitted.
struct StoredJob {
  JobRecord record;
  v1::JobSpec spec;
  std::string normal_form, recipe_digest;
};

struct JobFilter {
  std::vector<JobPhase> phases;  // empty: all
  std::string name_contains;
  std::string project;                // empty: all
  std::string model;                  // digest; empty: any
  std::string sweep;                  // whose trials they are; empty: any
  bool no_trials = false;             // only those that are no sweep's
  std::uint64_t before_sequence = 0;  // 0: from the newest
  int limit = 50;
};

// A trial that a sweep has made: told apart by number, so that none is made twice.
struct NewTrial {
  std::string sweep;
  std::uint64_t number = 0;
  Json point;  // {at, values, rung, parent, fidelity}
};

// What goes to disk in one transaction. Stages and rows are those of the outcome's one changed job.
struct StoreBatch {
  Outcome outcome;
  std::optional<StoredJob> submitted;
  std::string request_id, request_digest;  // of `submitted`; may be empty
  std::vector<v1::StageStatus> stages;     // a pending one does not replace one that was done
  std::vector<v1::Evaluation> evaluations;
  int evaluations_of_stage = -1;  // they replace those that this stage reported before
  bool all_evaluations = false;   // they replace every row of the job
  std::vector<std::string> made;  // digests of artifacts that the job has made: its project's from then on
  std::vector<v1::Artifact>
      artifacts;  // of no project: of "default"; one that is there, and had expired, is kept
  std::optional<v1::Worker> worker;
  std::optional<NewTrial> trial;  // of a sweep, which `submitted` is
};

struct EvaluationFilter {
  std::string job, artifact, suite, metric;  // empty: all
  std::string project;                       // of the jobs; empty: all
  std::int64_t after_row = 0;
  int limit = 100;
};
struct EvaluationPage {
  std::vector<v1::Evaluation> rows;
  std::int64_t last_row = 0;
};
struct ArtifactFilter {
  std::string kind, name_contains;  // empty: all
  std::int64_t before_row = 0;      // 0: from the newest
  int limit = 50;
};
struct ArtifactPage {
  std::vector<v1::Artifact> artifacts;  // newest first, without manifests
  std::int64_t last_row = 0;
};

// Output of a finished stage, which other workers of the project may take.
struct StageOutput {
  std::string project, key, manifest, digest;  // of the manifest
  std::uint64_t bytes = 0;                     // of its files
  double seconds = 0;                          // that it took
  TimeMs used = 0;                             // last
};
struct StageOutputTotals {
  std::uint64_t count = 0, bytes = 0;
};

// What a call about jobs and artifacts may see: one project's; empty: all projects'.
using Within = std::string;

// Reads see only what is committed. Any thread may call.
class JobStore {
 public:
  // Opens the database of a data folder, or makes it, and brings its schema up to date. Throws Error
  // kFailedPrecondition "NEWER_SCHEMA" where a later release wrote it.
  explicit JobStore(const std::filesystem::path& folder);
  explicit JobStore(std::unique_ptr<Database> database);
  ~JobStore();

  // Becomes ready when the batch, and every one before it, is on disk. What is changed by write(),
  // remove_job() and change() takes the call's AuditNote along.
  std::future<void> write(StoreBatch batch);
  void remove_job(const std::string& id);
  // Runs `action` in the order of the writes; returns once it is on disk. It may run more than once.
  void change(std::function<void(Connection&)> action) { asked_for(std::move(action)).get(); }
  // The same for what no caller has asked for.
  std::future<void> change_later(std::function<void(Connection&)> action) {
    return writer_->write(std::move(action));
  }
  // What `look` makes of what is committed.
  template <typename Look>
  auto read(Look look) {
    const Reader reader(*readers_);
    return look(reader.get());
  }
  // Rises with every commit, before whoever waits for it hears of it.
  std::uint64_t commits() const { return writer_->commits(); }
  // Throws kResourceExhausted "DISK_FULL" while commits wait for disk space.
  void check_space() const;

  // Everything that has not ended, in order; and what else a restart needs.
  std::vector<StoredJob> load_open_jobs();
  std::uint64_t highest_sequence();
  std::uint64_t highest_fence();
  std::uint64_t epoch();
  std::string id() const;                                    // of this database, through backups and restores
  bool is_empty();                                           // it has neither jobs nor artifacts
  const std::string& page_key() const { return page_key_; }  // 32 secret bytes of this database
  std::map<ShareKey, std::uint64_t> served();                // n of each share's newest lease
  std::vector<v1::Worker> workers();
  std::set<std::string> paused(PauseRecord::Kind kind);  // names
  std::map<std::string, Quota> quotas();                 // by project

  std::optional<StoredJob> job(const std::string& id);
  // The id that begins with `prefix` (3 characters or more). Throws kNotFound, kInvalidArgument "AMBIGUOUS".
  std::string resolve_job(const std::string& prefix, const Within& project);
  std::vector<StoredJob> jobs(const JobFilter& filter);  // newest first
  // Job id and digest of a request that was stored.
  std::optional<std::pair<std::string, std::string>> request(const std::string& request_id);
  std::vector<JobEvent> events(const std::string& job, std::uint64_t after, int limit);
  std::vector<v1::StageStatus> stages(const std::string& job);
  std::map<std::string, std::vector<v1::StageStatus>> stages(const std::vector<std::string>& jobs);  // by job
  EvaluationPage evaluations(const EvaluationFilter& filter);
  // The newest kLogLines of a job stay. Returns at once.
  static constexpr int kLogLines = 1000;
  void add_log_lines(const std::string& job, std::vector<std::string> lines, TimeMs now);
  std::vector<v1::LogLine> log_lines(const std::string& job, std::uint64_t after);
  bool has_artifact(const std::string& digest, const Within& project);
  // With its manifest; by digest or a unique prefix of 4 digits or more. Throws kInvalidArgument "AMBIGUOUS".
  std::optional<v1::Artifact> artifact(const std::string& digest_or_prefix, const Within& project);
  // Each once, also where several projects have it.
  ArtifactPage artifacts(const ArtifactFilter& filter, const Within& project);

  std::vector<std::string> projects_of(const std::string& digest);  // that have a copy of it, by name
  // Of an artifact that is there; returns whether it is.
  bool set_retention(const std::string& digest, bool pinned, std::optional<TimeMs> expire_time,
                     const Within& project);
  // Takes the artifact from the project unless it is pinned or a job that has not ended reads it. Throws
  // kNotFound "ARTIFACT_NOT_FOUND", kFailedPrecondition "ARTIFACT_PINNED", "ARTIFACT_IN_USE".
  void remove_artifact(const std::string& digest, const Within& project);
  std::vector<std::pair<std::string, std::string>> expired(TimeMs now);  // digests of artifacts, projects
  // Deletes those of them whose time is still over and that no job of the project reads which has not ended.
  // Returns how many.
  std::uint64_t remove_expired(const std::vector<std::pair<std::string, std::string>>& artifacts, TimeMs now);

  std::optional<StageOutput> stage_output(const std::string& project, const std::string& key);
  // Returns the manifest digest of the key's output: the first one stays. Its chunks are the project's; what
  // is more than half of a project's quota is forgotten.
  std::string put_stage_output(const StageOutput& output);
  void use_stage_output(const std::string& project, const std::string& key, TimeMs now);  // returns at once
  void remove_stage_output(const std::string& project, const std::string& key);
  // Forgets those last used before `used_before`, and of the others those used longest ago beyond `max_bytes`
  // in all. Returns how many.
  std::uint64_t trim_stage_outputs(TimeMs used_before, std::uint64_t max_bytes);
  StageOutputTotals stage_output_totals(const Within& project = {});
  std::uint64_t stored_bytes(const Within& project);  // as quotas count them

  // Calls `sink` with the manifest of every artifact and every stage's output.
  void for_each_manifest(const std::function<void(const std::string&)>& sink);
  // Held shared by whoever stores a job from before it has seen that its artifacts are there.
  FairSharedMutex& inputs() { return inputs_; }

 private:
  std::future<void> asked_for(std::function<void(Connection&)> action);
  std::string open_reader_of(const std::string& digest, const Within& project);
  std::set<std::pair<std::string, std::string>> inputs_of_open_jobs();  // and sweeps: digests, projects
  bool is_pinned(const std::string& digest, const Within& project);

  std::unique_ptr<Database> database_;
  std::string page_key_;
  std::unique_ptr<Connection> write_connection_;
  std::unique_ptr<Readers> readers_;
  FairSharedMutex inputs_;  // exclusively, by who deletes an artifact
  std::unique_ptr<Writer> writer_;
};

}  // namespace wring

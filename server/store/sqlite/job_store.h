// The job database on SQLite: jobs, events, stages, evaluations, artifacts; WAL, synchronous=FULL, one
// batched writer.
#pragma once

#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/scheduler/scheduler.h"
#include "server/store/sqlite/statement.h"
#include "server/store/sqlite/writer.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"

namespace wring {

// A job as it is stored: the scheduler's record and what was submitted.
struct StoredJob {
  JobRecord record;
  wring::v1::JobSpec spec;
  std::string normal_form, recipe_digest;
};

struct JobFilter {
  std::vector<JobPhase> phases;  // empty: all
  std::string name_contains;
  std::uint64_t before_sequence = 0;  // 0: from the newest
  int limit = 50;
};

// What goes to disk in one transaction.
struct StoreBatch {
  Outcome outcome;
  std::optional<StoredJob> submitted;  // with request id and its digest
  std::string request_id, request_digest;
  std::vector<std::pair<std::string, wring::v1::StageStatus>> stages;  // job id, stage
  std::vector<wring::v1::Evaluation> evaluations;
  bool replace_evaluations = false;  // of the job in front of evaluations: a success hands in all rows
  std::vector<wring::v1::Artifact> artifacts;
};

// Reads see only what is committed. Any thread may call.
class JobStore {
 public:
  // Opens or makes FOLDER/wring.db and brings its schema up to date. Throws Error kFailedPrecondition
  // "NEWER_SCHEMA" where a later release wrote it.
  explicit JobStore(const std::filesystem::path& folder);
  ~JobStore();

  std::future<void> write(StoreBatch batch);
  void remove_job(const std::string& id);

  // Everything that has not ended, in order; and the counters a restart needs.
  std::vector<StoredJob> load_open_jobs();
  std::uint64_t highest_sequence();
  std::uint64_t highest_fence();
  std::uint64_t epoch();

  std::optional<StoredJob> job(const std::string& id);
  std::string resolve_job(const std::string& prefix);  // throws kNotFound, kInvalidArgument "AMBIGUOUS"
  std::vector<StoredJob> jobs(const JobFilter& filter);
  std::optional<std::pair<std::string, std::string>> request(
      const std::string& request_id);  // job id, digest
  std::vector<JobEvent> events(const std::string& job, std::uint64_t after, int limit);
  std::vector<wring::v1::StageStatus> stages(const std::string& job);
  std::vector<wring::v1::Evaluation> evaluations(const std::string& job, const std::string& artifact,
                                                 const std::string& suite, const std::string& metric,
                                                 std::int64_t after_row, int limit, std::int64_t* last_row);
  std::optional<wring::v1::Artifact> artifact(const std::string& digest_or_prefix);
  std::vector<wring::v1::Artifact> artifacts(const std::string& kind, std::int64_t before_row, int limit,
                                             std::int64_t* last_row);

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  using Database = std::unique_ptr<sqlite3, Close>;
  static Database open(const std::filesystem::path& path);

  std::filesystem::path path_;
  Database write_database_, read_database_;
  std::mutex read_mutex_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace wring

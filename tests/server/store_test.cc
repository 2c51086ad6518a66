// What the job database keeps over restarts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <thread>

#include "common/files.h"
#include "server/auth/tenant_blobs.h"
#include "server/store/job_store.h"
#include "server/store/sqlite/schema.h"
#include "server/store/statement.h"
#include "server/store/sweep_rows.h"
#include "tests/common/thrown_by.h"
#include "tests/server/data_folder.h"
#include "tests/server/schema_1.h"
#include "tests/server/small_disk.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

StoredJob make_job(const std::string& id, std::uint64_t sequence) {
  StoredJob job;
  job.record.id = id;
  job.record.sequence = sequence;
  job.record.needs = {"cuda", 2, 123, {"gptq@1"}, 45};
  job.record.create_time = 1000;
  job.record.version = 1;
  job.spec.set_name("name of " + id);
  job.spec.set_recipe("rtn(bits=4)");
  job.normal_form = "{}";
  job.recipe_digest = "digest";
  return job;
}

StoreBatch submission(const StoredJob& job, const std::string& request_id = {}) {
  StoreBatch batch;
  batch.submitted = job;
  batch.request_id = request_id;
  batch.request_digest = "request digest";
  batch.outcome.changed = {job.record};
  batch.outcome.events = {{job.record.id, 1, 1000, "queued", JobPhase::kQueued, 0, {}}};
  return batch;
}

// A batch that changes nothing of the job but its row.
StoreBatch change(const JobRecord& record) {
  StoreBatch batch;
  batch.outcome.changed = {record};
  return batch;
}

v1::Evaluation row(const std::string& suite, double value) {
  v1::Evaluation evaluation;
  evaluation.set_suite(suite);
  evaluation.set_metric("m");
  evaluation.set_value(value);
  return evaluation;
}

std::vector<double> values(const EvaluationPage& page) {
  std::vector<double> values;
  for (const auto& row : page.rows) values.push_back(row.value());
  return values;
}

class Store : public testing::Test {
 protected:
  Store() { reopen(); }
  void reopen() {
    store_.reset();
    store_ = std::make_unique<JobStore>(folder_.path());
  }
  // Closes the store and changes its file.
  template <typename Body>
  void edit(Body body) {
    store_.reset();
    SqliteConnection database(folder_.path() / "wring.db");
    body(database);
  }
  // A store of whatever `body` makes of an empty file.
  template <typename Body>
  void start_from(Body body) {
    store_.reset();
    std::filesystem::remove(folder_.path() / "wring.db");
    edit(body);
    reopen();
  }
  void write(StoreBatch batch) { store_->write(std::move(batch)).get(); }

  DataFolder folder_;
  std::unique_ptr<JobStore> store_;
};

TEST_F(Store, AJobIsTheSameAfterARestart) {
  auto job = make_job("abcd", 7);
  write(submission(job));
  job.record.phase = JobPhase::kRunning;
  job.record.attempt = 3;
  job.record.attempt_base = 1;
  job.record.max_attempts = 9;
  job.record.failures = 2;
  job.record.worker = "w";
  job.record.fence = {4, 55};
  job.record.not_before = 5;
  job.record.start_time = 6;
  job.record.end_time = 8;
  job.record.crash_signature = "s";
  job.record.told_outcome = "failed";
  job.record.reported = {{0, "running"}, {0, "done"}};
  job.record.result = "r";
  job.record.error = Json{{"code", "INTERNAL"}};
  job.record.last_event = 1;
  job.record.version = 2;
  write(change(job.record));
  reopen();
  const auto jobs = store_->load_open_jobs();
  ASSERT_THAT(jobs, SizeIs(1));
  const JobRecord &was = job.record, &is = jobs[0].record;
  EXPECT_EQ(is.id, was.id);
  EXPECT_EQ(is.sequence, was.sequence);
  EXPECT_EQ(is.phase, was.phase);
  EXPECT_EQ(is.needs.device, "cuda");
  EXPECT_EQ(is.needs.device_count, 2u);
  EXPECT_EQ(is.needs.memory_bytes, 123u);
  EXPECT_EQ(is.needs.outgrown_bytes, 45u);
  EXPECT_THAT(is.needs.methods, ElementsAre("gptq@1"));
  EXPECT_EQ(is.attempt, was.attempt);
  EXPECT_EQ(is.attempt_base, was.attempt_base);
  EXPECT_EQ(is.max_attempts, was.max_attempts);
  EXPECT_EQ(is.failures, was.failures);
  EXPECT_EQ(is.worker, was.worker);
  EXPECT_EQ(is.fence, was.fence);
  EXPECT_EQ(is.not_before, was.not_before);
  EXPECT_EQ(is.create_time, was.create_time);
  EXPECT_EQ(is.start_time, was.start_time);
  EXPECT_EQ(is.end_time, was.end_time);
  EXPECT_EQ(is.crash_signature, was.crash_signature);
  EXPECT_EQ(is.told_outcome, was.told_outcome);
  EXPECT_EQ(is.reported, was.reported);
  EXPECT_EQ(is.result, was.result);
  EXPECT_EQ(is.error, was.error);
  EXPECT_EQ(is.last_event, was.last_event);
  EXPECT_EQ(is.version, was.version);
  EXPECT_EQ(jobs[0].spec.SerializeAsString(), job.spec.SerializeAsString());
  EXPECT_EQ(jobs[0].normal_form, "{}");
  EXPECT_EQ(jobs[0].recipe_digest, "digest");
  EXPECT_EQ(store_->highest_sequence(), 7u);
  EXPECT_EQ(store_->highest_fence(), 55u);
  if (!DataFolder::on_postgresql()) {  // where each leader has one of its own
    EXPECT_EQ(store_->epoch(), 1u);
  }
}

TEST_F(Store, ARequestIdLeadsToItsJobAfterARestart) {
  write(submission(make_job("abcd", 1), "request"));
  reopen();
  EXPECT_EQ(store_->request("request"), std::pair(std::string("abcd"), std::string("request digest")));
  EXPECT_EQ(store_->request("another"), std::nullopt);
}

TEST_F(Store, EventsComeBackInOrderAfterACursor) {
  write(submission(make_job("abcd", 1)));
  for (std::uint64_t n = 2; n <= 5; ++n) {
    StoreBatch batch = change(make_job("abcd", 1).record);
    batch.outcome.events = {{"abcd", n, 1000, "stage_done", JobPhase::kRunning, 1, {{"index", n}}}};
    write(std::move(batch));
  }
  reopen();
  std::vector<std::uint64_t> numbers;
  for (const auto& event : store_->events("abcd", 2, 2)) numbers.push_back(event.number);
  EXPECT_THAT(numbers, ElementsAre(3, 4));
  EXPECT_EQ(store_->events("abcd", 4, 10).at(0).payload["index"], 5);
}

TEST_F(Store, AFinishedStageIsNotUndoneByTheNextAttemptsPlan) {
  const auto record = make_job("abcd", 1).record;
  write(submission(make_job("abcd", 1)));
  const auto report = [&](const char* state) {
    StoreBatch batch = change(record);
    batch.stages.emplace_back().set_state(state);
    write(std::move(batch));
    return store_->stages("abcd").at(0).state();
  };
  EXPECT_EQ(report("pending"), "pending");
  EXPECT_EQ(report("done"), "done");
  EXPECT_EQ(report("pending"), "done");
  EXPECT_EQ(report("running"), "running");
}

TEST_F(Store, RowsThatAStageReportsAgainReplaceItsOwnAndASuccessReplacesAll) {
  const auto record = make_job("abcd", 1).record;
  write(submission(make_job("abcd", 1)));
  const auto report = [&](int stage, std::vector<v1::Evaluation> rows, bool all = false) {
    StoreBatch batch = change(record);
    batch.evaluations_of_stage = stage;
    batch.evaluations = std::move(rows);
    batch.all_evaluations = all;
    write(std::move(batch));
    return values(store_->evaluations({"abcd"}));
  };
  EXPECT_THAT(report(0, {row("size", 1), row("perplexity", 2)}), ElementsAre(1, 2));
  EXPECT_THAT(report(1, {row("size", 3)}), ElementsAre(1, 2, 3));
  EXPECT_THAT(report(0, {row("size", 4)}), ElementsAre(3, 4));
  EXPECT_THAT(report(-1, {row("size", 5), row("kl", 6)}, true), ElementsAre(5, 6));
  EXPECT_THAT(values(store_->evaluations({"", "", "kl"})), ElementsAre(6));
  EXPECT_THAT(values(store_->evaluations({"", "", "", "other"})), IsEmpty());
}

TEST_F(Store, EvaluationsArePagedWithoutHoles) {
  StoreBatch batch = submission(make_job("abcd", 1));
  for (int i = 0; i < 10; ++i) batch.evaluations.push_back(row("s", i));
  write(std::move(batch));
  std::vector<double> all;
  for (EvaluationFilter filter{.limit = 3};;) {
    const auto page = store_->evaluations(filter);
    for (const auto value : values(page)) all.push_back(value);
    if (page.rows.size() < 3) break;
    filter.after_row = page.last_row;
  }
  EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST_F(Store, JobsAreListedNewestFirstByStateAndName) {
  for (std::uint64_t i = 1; i <= 4; ++i) {
    auto job = make_job("job" + std::to_string(i), i);
    if (i % 2 == 0) job.record.phase = JobPhase::kFailed;
    write(submission(job));
  }
  const auto ids = [&](const JobFilter& filter) {
    std::vector<std::string> ids;
    for (const auto& job : store_->jobs(filter)) ids.push_back(job.record.id);
    return ids;
  };
  EXPECT_THAT(ids({}), ElementsAre("job4", "job3", "job2", "job1"));
  EXPECT_THAT(ids({.limit = 2}), ElementsAre("job4", "job3"));
  EXPECT_THAT(ids({.before_sequence = 3}), ElementsAre("job2", "job1"));
  EXPECT_THAT(ids({.phases = {JobPhase::kFailed}}), ElementsAre("job4", "job2"));
  EXPECT_THAT(ids({.phases = {JobPhase::kFailed, JobPhase::kFailed}, .limit = 2}),
              ElementsAre("job4", "job2"));
  EXPECT_THAT(ids({.phases = {JobPhase::kFailed, JobPhase::kQueued}, .limit = 3}),
              ElementsAre("job4", "job3", "job2"));
  EXPECT_THAT(ids({.name_contains = "of job3"}), ElementsAre("job3"));
  EXPECT_THAT(ids({.name_contains = "%"}), IsEmpty());
}

TEST_F(Store, ANameIsFoundAsItIsWritten) {
  const std::string names[] = {"a \"quoted\" name", "Größe 7B", "NEAR(x AND y)*", "name: of -job", "ab"};
  for (std::uint64_t i = 1; i <= 5; ++i) {
    auto job = make_job("job" + std::to_string(i), i);
    job.spec.set_name(names[i - 1]);
    if (i == 2) job.record.project = "vision";
    if (i == 3) job.record.phase = JobPhase::kFailed;
    write(submission(job));
  }
  const auto found = [&](JobFilter filter) {
    std::vector<std::string> ids;
    for (const auto& job : store_->jobs(filter)) ids.push_back(job.record.id);
    return ids;
  };
  EXPECT_THAT(found({.name_contains = "\"quoted\""}), ElementsAre("job1"));
  EXPECT_THAT(found({.name_contains = " \"quo"}), ElementsAre("job1"));
  EXPECT_THAT(found({.name_contains = "öße"}), ElementsAre("job2"));
  EXPECT_THAT(found({.name_contains = "ÖSSE"}), IsEmpty());
  EXPECT_THAT(found({.name_contains = "NEAR(x AND y)*"}), ElementsAre("job3"));
  EXPECT_THAT(found({.name_contains = "near"}), IsEmpty());
  EXPECT_THAT(found({.name_contains = "name"}), ElementsAre("job4", "job1"));
  EXPECT_THAT(found({.name_contains = "name", .before_sequence = 4}), ElementsAre("job1"));
  EXPECT_THAT(found({.name_contains = "name", .limit = 1}), ElementsAre("job4"));
  EXPECT_THAT(found({.name_contains = std::string("name\0", 5)}), IsEmpty());
  EXPECT_THAT(found({.name_contains = "ab"}), ElementsAre("job5"));
  EXPECT_THAT(found({.name_contains = "7B", .project = "vision"}), ElementsAre("job2"));
  EXPECT_THAT(found({.name_contains = " 7B", .project = "vision"}), ElementsAre("job2"));
  EXPECT_THAT(found({.name_contains = " 7B", .project = "default"}), IsEmpty());
  EXPECT_THAT(found({.phases = {JobPhase::kQueued}, .name_contains = "NEAR"}), IsEmpty());
  store_->remove_job("job4");
  EXPECT_THAT(found({.name_contains = "name"}), ElementsAre("job1"));
  if (DataFolder::on_postgresql()) return;  // it has no index of names
  EXPECT_EQ(store_->read([](Connection& db) {
    Statement count(db, "SELECT count(*) FROM job_names WHERE job_names MATCH '\"name\"'");
    count.row();
    return count.integer(0);
  }),
            1);
}

// More than are read one by one.
TEST_F(Store, ANameThatManyJobsHaveIsListedInOrder) {
  std::future<void> last;
  for (std::uint64_t i = 1; i <= 1100; ++i)
    last = store_->write(submission(make_job("job" + std::to_string(10'000 + i), i)));
  last.get();
  const auto jobs = store_->jobs({.name_contains = "name of", .before_sequence = 1001, .limit = 3});
  ASSERT_THAT(jobs, SizeIs(3));
  EXPECT_EQ(jobs[0].record.id, "job11000");
  EXPECT_EQ(jobs[2].record.id, "job10998");
}

TEST_F(Store, JobsAreListedByProject) {
  for (std::uint64_t i = 1; i <= 4; ++i) {
    auto job = make_job("job" + std::to_string(i), i);
    if (i % 2 == 0) job.record.project = "even";
    write(submission(job));
  }
  std::vector<std::string> ids;
  for (const auto& job : store_->jobs({.project = "even"})) ids.push_back(job.record.id);
  EXPECT_THAT(ids, ElementsAre("job4", "job2"));
}

TEST_F(Store, JobsAreListedByTheModelTheyWereGiven) {
  for (std::uint64_t i = 1; i <= 6; ++i) {
    auto job = make_job("job" + std::to_string(i), i);
    job.spec.set_model(i % 3 == 0 ? "third" : "other");
    if (i % 2 == 0) job.record.project = "even";
    if (i > 3) job.record.phase = JobPhase::kSucceeded;
    write(submission(job));
  }
  const auto ids = [&](const JobFilter& filter) {
    std::vector<std::string> ids;
    for (const auto& job : store_->jobs(filter)) ids.push_back(job.record.id);
    return ids;
  };
  EXPECT_THAT(ids({.model = "other"}), ElementsAre("job5", "job4", "job2", "job1"));
  EXPECT_THAT(ids({.model = "other", .limit = 3}), ElementsAre("job5", "job4", "job2"));
  EXPECT_THAT(ids({.model = "other", .before_sequence = 4}), ElementsAre("job2", "job1"));
  EXPECT_THAT(ids({.phases = {JobPhase::kSucceeded}, .model = "other"}), ElementsAre("job5", "job4"));
  EXPECT_THAT(ids({.project = "even", .model = "other"}), ElementsAre("job4", "job2"));
  EXPECT_THAT(ids({.name_contains = "of job4", .project = "even", .model = "other"}), ElementsAre("job4"));
  EXPECT_THAT(ids({.name_contains = "of job4", .model = "third"}), IsEmpty());
  EXPECT_THAT(ids({.name_contains = "4", .model = "other"}),
              ElementsAre("job4"));  // shorter than the index' words
  EXPECT_THAT(ids({.model = "oth"}), IsEmpty());
  store_->remove_job("job5");
  EXPECT_THAT(ids({.model = "other", .limit = 1}), ElementsAre("job4"));
}

TEST_F(Store, WhichProjectWasServedLastIsKnownAfterARestart) {
  auto job = make_job("a", 1);
  job.record.project = "p";
  write(submission(job));
  for (const std::uint64_t n : {3, 7}) {
    job.record.fence = {1, n};
    auto batch = change(job.record);
    batch.outcome.leased = job.record;
    write(std::move(batch));
  }
  reopen();
  EXPECT_THAT(store_->served(), ElementsAre(std::pair(ShareKey{"p", "cuda"}, std::uint64_t{7})));
}

TEST_F(Store, PausesOutliveARestartUntilTheyEnd) {
  const auto pause = [&](PauseRecord::Kind kind, const std::string& name, bool paused) {
    StoreBatch batch;
    batch.outcome.pause = PauseRecord{kind, name, paused};
    write(std::move(batch));
  };
  pause(PauseRecord::Kind::kProject, "p", true);
  pause(PauseRecord::Kind::kProject, "q", true);
  pause(PauseRecord::Kind::kWorker, "p", true);
  pause(PauseRecord::Kind::kProject, "p", false);
  reopen();
  EXPECT_THAT(store_->paused(PauseRecord::Kind::kProject), ElementsAre("q"));
  EXPECT_THAT(store_->paused(PauseRecord::Kind::kWorker), ElementsAre("p"));
}

TEST_F(Store, APrefixNamesAJobWhereItIsUnique) {
  write(submission(make_job("abcd", 1)));
  write(submission(make_job("abce", 2)));
  write(submission(make_job("xyz1", 3)));
  EXPECT_EQ(store_->resolve_job("xyz", {}), "xyz1");
  EXPECT_EQ(store_->resolve_job("abce", {}), "abce");
  EXPECT_EQ(thrown_by([&] { store_->resolve_job("abc", {}); }).reason(), "AMBIGUOUS");
  for (const char* unknown : {"xy", "nope", "", "xyz12", "%%%%"})
    EXPECT_EQ(thrown_by([&] { store_->resolve_job(unknown, {}); }).reason(), "JOB_NOT_FOUND") << unknown;
}

TEST_F(Store, AnArtifactIsFoundByPrefixKeepsItsManifestAndItsFirstMaker) {
  v1::Artifact artifact;
  artifact.set_digest(std::string(64, 'a'));
  artifact.set_kind("model");
  artifact.set_manifest_json(R"({"kind":"model"})");
  StoreBatch batch;
  batch.artifacts = {artifact};
  write(batch);
  for (const char* id : {"job1", "job2"}) {
    auto done = submission(make_job(id, id[3] - '0'));
    done.made = {artifact.digest()};
    write(std::move(done));
  }
  reopen();
  const auto found = store_->artifact("aaaa", {});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->manifest_json(), R"({"kind":"model"})");
  EXPECT_EQ(found->created_by_job(), "job1");
  EXPECT_FALSE(store_->artifact("aaa", {}));
  EXPECT_THAT(store_->artifacts({}, {}).artifacts, SizeIs(1));
  EXPECT_THAT(store_->artifacts({.kind = "dataset"}, {}).artifacts, IsEmpty());
}

TEST_F(Store, ADeletedJobLeavesNothingBehind) {
  auto batch = submission(make_job("abcd", 1), "request");
  batch.evaluations = {row("s", 1)};
  batch.stages.emplace_back().set_state("done");
  write(std::move(batch));
  store_->remove_job("abcd");
  EXPECT_FALSE(store_->job("abcd"));
  EXPECT_THAT(store_->events("abcd", 0, 10), IsEmpty());
  EXPECT_THAT(store_->stages("abcd"), IsEmpty());
  EXPECT_THAT(store_->evaluations({"abcd"}).rows, IsEmpty());
  EXPECT_FALSE(store_->request("request"));
}

TEST_F(Store, CommitsFromManyThreadsAreAllOnDisk) {
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          const int n = t * 50 + i + 1;
          write(submission(make_job("job" + std::to_string(1000 + n), static_cast<std::uint64_t>(n))));
        }
      });
  }
  reopen();
  EXPECT_THAT(store_->load_open_jobs(), SizeIs(400));
}

TEST_F(Store, ADatabaseOfALaterReleaseIsRefused) {
  OF_SQLITE_ALONE();
  edit([](SqliteConnection& raw) { raw.execute("PRAGMA user_version = 999"); });
  EXPECT_EQ(thrown_by([&] { JobStore later(folder_.path()); }).reason(), "NEWER_SCHEMA");
}

TEST_F(Store, ADatabaseOfTheFirstReleaseIsTakenOverWhole) {
  OF_SQLITE_ALONE();
  start_from([](SqliteConnection& raw) { raw.execute(kSchema1); });
  const auto open = store_->load_open_jobs();
  ASSERT_THAT(open, SizeIs(1));
  EXPECT_EQ(open[0].record.priority, 3);
  EXPECT_EQ(open[0].record.project, "default");
  EXPECT_EQ(open[0].spec.name(), "first");
  EXPECT_THAT(store_->jobs({.project = "default"}), SizeIs(2));
  EXPECT_THAT(store_->jobs({.phases = {JobPhase::kCancelled}, .name_contains = "second"}), SizeIs(1));
  EXPECT_EQ(store_->request("11111111-2222-3333-4444-555555555555").value().first, open[0].record.id);
  EXPECT_THAT(store_->events("st24eh6yceh8", 0, 10), SizeIs(2));
  EXPECT_TRUE(store_->artifact("90e639f1", "default"));
  EXPECT_FALSE(store_->artifact("90e639f1", "another"));
  EXPECT_EQ(store_->read([](Connection& db) { return bytes_of(db, "default").first; }),
            3u);  // one chunk of both
  EXPECT_THAT(store_->served(), IsEmpty());
  auto batch = change(open[0].record);
  batch.outcome.leased = open[0].record;
  write(std::move(batch));
  reopen();  // and is of the newest schema now
  EXPECT_THAT(store_->served(), SizeIs(1));
}

// What servers between the releases wrote, in the columns that their schema has.
constexpr std::array<const char*, 11> kWritten{
    "",
    "UPDATE jobs SET project = 'vision', record = json_set(record, '$.project', 'vision') WHERE sequence = 1;"
    "INSERT INTO shares VALUES('vision', 'cpu', 7);",
    "INSERT INTO pauses VALUES(1, 'vision');",
    "UPDATE artifacts SET expire_time = 1895752987806 WHERE kind = 'model';",
    "INSERT INTO artifacts(project, digest, kind, message) SELECT 'vision', digest, kind, message FROM "
    "artifacts "
    "WHERE kind = 'model';"
    "INSERT INTO quotas VALUES('vision', 5, 0, 0);"
    "INSERT INTO tokens VALUES('t', 'hash', 'name', 3, '', 1, 0, 0);",
    "INSERT INTO stage_outputs(project, key, digest, bytes, seconds, used, manifest) "
    "VALUES('vision', 'key', 'digest', 3, 1.5, 9, '{}');",
    "UPDATE jobs SET name = 'first of them' WHERE sequence = 1;",
    "INSERT INTO sweeps VALUES('s', 3, 'vision', 1, '{\"bytes\":0,\"create_time\":1,\"end_reason\":\"\","
    "\"end_time\":0,\"exhausted\":true,\"extents\":[1],\"seconds\":0,\"trials\":1,\"version\":1}', '', NULL, "
    "'');"
    "INSERT INTO trials VALUES('s', 0, 'nywaydnbafd1', 0, 0, '{}', NULL);",
    "UPDATE secrets SET value = zeroblob(32);",
    "INSERT INTO log_lines VALUES('nywaydnbafd1', 1, 5, 'a line');"
    "INSERT INTO stages(job_id, idx, state, status, key) VALUES('nywaydnbafd1', 0, 'done', '', 'a key');",
    "UPDATE jobs SET model = 'another' WHERE sequence = 2;"};

// Both jobs of the first schema were given it.
constexpr const char* kItsModel = "90e639f11b835f6a6ca7da3c42d13e67c94442768bc8651a3b67c95d0a73d140";

TEST_F(Store, ADatabaseOfEachSchemaIsTakenOverWhole) {
  OF_SQLITE_ALONE();
  ASSERT_EQ(newest_schema(), kWritten.size()) << "what a server writes under a new schema belongs here, too";
  for (std::size_t schema = 1; schema <= newest_schema(); ++schema) {
    SCOPED_TRACE("schema " + std::to_string(schema));
    start_from([&](SqliteConnection& raw) {
      raw.execute(kSchema1);
      for (std::size_t i = 1; i <= schema; ++i) {
        migrate_to(i, raw);
        raw.execute(kWritten[i - 1]);
      }
    });
    const auto open = store_->load_open_jobs();
    ASSERT_THAT(open, SizeIs(1));
    EXPECT_EQ(open[0].spec.name(), "first");
    EXPECT_EQ(open[0].record.project, schema >= 2 ? "vision" : "default");
    EXPECT_THAT(store_->jobs({.project = schema >= 2 ? "vision" : "default"}), SizeIs(schema >= 2 ? 1 : 2));
    EXPECT_THAT(store_->jobs({.phases = {JobPhase::kCancelled}, .name_contains = "second"}), SizeIs(1));
    EXPECT_EQ(store_->page_key().size(), 32u);
    EXPECT_THAT(store_->served(), SizeIs(schema >= 2));
    EXPECT_THAT(store_->paused(PauseRecord::Kind::kProject), SizeIs(schema >= 3));
    EXPECT_TRUE(store_->artifact("90e639f1", "default"));
    EXPECT_EQ(store_->artifact("90e639f1", "vision").has_value(), schema >= 5);
    EXPECT_THAT(store_->expired(1895752987807), SizeIs(schema >= 4));
    EXPECT_THAT(store_->quotas(), SizeIs(schema >= 5));
    EXPECT_EQ(store_->stage_output("vision", "key").has_value(), schema >= 6);
    EXPECT_THAT(store_->jobs({.name_contains = "of them"}), SizeIs(schema >= 7));
    const auto sweep = store_->read([](Connection& db) { return find_sweep(db, "s"); });
    EXPECT_EQ(sweep && sweep->record.exhausted && sweep->record.extents == std::vector<std::uint64_t>{1},
              schema >= 8);
    EXPECT_THAT(store_->read([](Connection& db) { return open_trial_jobs(db, "s"); }), SizeIs(schema >= 8));
    EXPECT_EQ(store_->page_key() == std::string(32, '\0'), schema >= 9);
    EXPECT_THAT(store_->log_lines("nywaydnbafd1", 0), SizeIs(schema >= 10));
    EXPECT_THAT(store_->stages("nywaydnbafd1"), SizeIs(schema >= 10));
    EXPECT_THAT(store_->jobs({.model = kItsModel}), SizeIs(schema >= 11 ? 1 : 2));
    EXPECT_THAT(store_->jobs({.project = "vision", .model = kItsModel}), SizeIs(schema >= 2 ? 1 : 0));
  }
}

TEST_F(Store, ForgetsTheTurnsOfProjectsThatAreLongAgo) {
  auto job = make_job("abcd", 1);
  write(submission(job));
  const auto leased = [&](const std::string& project, std::uint64_t n) {
    job.record.project = project;
    job.record.fence.n = n;
    auto batch = change(job.record);
    batch.outcome.leased = job.record;
    write(std::move(batch));
  };
  leased("old", 1);
  leased("newer", 2);
  leased("newest", kTurnsRemembered + 1);
  const std::map<ShareKey, std::uint64_t> kept{{{"newer", "cuda"}, 2},
                                               {{"newest", "cuda"}, kTurnsRemembered + 1}};
  EXPECT_EQ(store_->served(), kept);
}

TEST_F(Store, CommitsWaitWhileTheDiskIsFullAndGoOnAfterwards) {
  const auto at = folder_.path() / "small";
  const SmallDisk disk(at);
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a small file system";
  JobStore store(at);
  store.check_space();
  std::ofstream(at / "ballast") << std::string(600'000, 'x');
  StoreBatch batch;
  auto& artifact = batch.artifacts.emplace_back();
  artifact.set_digest(std::string(64, 'b'));
  artifact.set_manifest_json('"' + std::string(400'000, 'm') + '"');
  auto done = store.write(std::move(batch));
  EXPECT_EQ(done.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  EXPECT_EQ(thrown_by([&] { store.check_space(); }).reason(), "DISK_FULL");
  EXPECT_FALSE(store.artifact(std::string(64, 'b'), {}));
  std::filesystem::remove(at / "ballast");
  EXPECT_EQ(done.wait_for(std::chrono::seconds(5)), std::future_status::ready);
  EXPECT_TRUE(store.artifact(std::string(64, 'b'), {}));
  store.check_space();
}

TEST_F(Store, WritesAhead) {
  OF_SQLITE_ALONE();
  edit([](SqliteConnection& raw) {
    Statement mode(raw, "PRAGMA journal_mode");
    ASSERT_TRUE(mode.row());
    EXPECT_EQ(mode.text(0), "wal");
  });
}

}  // namespace
}  // namespace wring

// What a job database on PostgreSQL does that a file need not: one server leads, the others are refused.
// Those that need a database run where WRING_TEST_POSTGRESQL names one (scripts/prove pg).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <thread>

#include "server/store/job_store.h"
#include "server/store/place.h"
#include "server/store/postgres/connection.h"
#include "server/store/sqlite/connection.h"
#include "server/store/sqlite/schema.h"
#include "tests/common/thrown_by.h"
#include "tests/server/data_folder.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

TEST(PostgresSql, HasItsParametersByNumber) {
  EXPECT_EQ(with_dollars("a = ? AND b = ? LIMIT ?"), "a = $1 AND b = $2 LIMIT $3");
  EXPECT_EQ(with_dollars("a = ?2 OR ?1 = '' AND b = ?2"), "a = $2 OR $1 = '' AND b = $2");
}

TEST(PostgresSql, HoldsAnyTextOrWhatStandsForIt) {
  EXPECT_EQ(as_stored_text("a \\u0000 b"), "a \\u0000 b");
  EXPECT_EQ(as_stored_text("Größe"), "Größe");
  EXPECT_EQ(as_stored_text(std::string("a\0b", 3)),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(as_stored_text("a\xFF"
                           "b"),
            "a\xEF\xBF\xBD"
            "b");
}

Error refused(const std::string& yaml) {
  const TempDir folder;
  std::ofstream(folder.path() / "database.yaml") << yaml;
  return thrown_by([&] { open_database(folder.path()); });
}

TEST(DatabasePlace, ThatIsWrongIsNamedByItsKey) {
  EXPECT_EQ(refused("postgres: x").reason(), "UNKNOWN_KEY");
  EXPECT_EQ(refused("{}").reason(), "BAD_URL");
  EXPECT_EQ(refused("postgresql: 'postgresql://host:port/x?nothing=1'").reason(), "BAD_URL");
  EXPECT_THAT(refused("postgresql: 'nonsense'").field(), testing::EndsWith("database.yaml: postgresql"));
  EXPECT_EQ(refused("{postgresql: 'postgresql:///x', lease_seconds: 0}").reason(), "OUT_OF_RANGE");
  EXPECT_EQ(refused("postgresql: 'postgresql://127.0.0.1:1/x'").reason(), "DATABASE_AWAY");
  EXPECT_EQ(refused("postgresql: [").reason(), "MALFORMED_CONFIG");
}

TEST(DatabasePlace, DoesNotTellThePassword) {
  for (const char* url : {"postgresql://wring:pa%ss@db/x", "password=a sec ret"}) {
    const Error error = refused(std::string("postgresql: '") + url + "'");
    EXPECT_EQ(error.reason(), "BAD_URL");
    for (const char* secret : {"pa%ss", "sec ret", "\"sec\""})
      EXPECT_EQ((error.message() + error.field() + error.hint()).find(secret), std::string::npos);
  }
}

TEST(DatabasePlace, InAFolderThatHasADatabaseIsRefused) {
  const TempDir folder;
  std::ofstream(folder.path() / kDatabase) << "";
  std::ofstream(folder.path() / "database.yaml") << "postgresql: 'postgresql:///x'";
  EXPECT_EQ(thrown_by([&] { open_database(folder.path()); }).reason(), "TWO_DATABASES");
}

class Postgres : public testing::Test {
 protected:
  void SetUp() override {
    if (!DataFolder::on_postgresql())
      GTEST_SKIP() << "WRING_TEST_POSTGRESQL names no database: scripts/prove pg";
  }
  std::unique_ptr<Database> open() { return open_database(folder_.path()); }
  std::unique_ptr<PostgresConnection> connect() {
    auto connection = open()->connect();
    return std::unique_ptr<PostgresConnection>(dynamic_cast<PostgresConnection*>(connection.release()));
  }
  static std::uint64_t epoch(Connection& connection) {
    Statement row(connection, "SELECT value FROM meta WHERE key = 'epoch'");
    row.row();
    return static_cast<std::uint64_t>(row.integer(0));
  }

  DataFolder folder_;
};

TEST_F(Postgres, OneServerLeadsAndTheNextOneUnderALaterEpoch) {
  auto first = open(), second = open();
  ASSERT_TRUE(first->lead());
  EXPECT_FALSE(second->lead());
  EXPECT_EQ(thrown_by([&] { second->connect_to_write(); }).reason(), "DATABASE_IN_USE");
  const auto before = epoch(*first->connect_to_write());
  first.reset();
  ASSERT_TRUE(second->lead());
  EXPECT_GT(epoch(*second->connect_to_write()), before);
}

TEST_F(Postgres, ASchemaThatIsNotThereIsNamed) {
  std::ofstream(folder_.path() / "database.yaml")
      << "postgresql: \"" << DataFolder::url() << "&options=-csearch_path%3Dnobody_made_it\"\n";
  auto database = open();
  EXPECT_EQ(thrown_by([&] { database->lead(); }).reason(), "NO_SCHEMA");
}

TEST_F(Postgres, ASessionThatWaitsForTheLockMayIdle) {
  auto first = open(), second = open();
  ASSERT_TRUE(first->lead());
  EXPECT_FALSE(second->lead());
  std::this_thread::sleep_for(1500ms);  // longer than the lease
  first.reset();
  EXPECT_TRUE(second->lead());
}

TEST_F(Postgres, ATransactionUnderAnEarlierEpochIsRefusedAndChangesNothing) {
  const JobStore makes_the_schema(folder_.path());
  const auto writer = connect(), other = connect();
  writer->fence(epoch(*writer), 60s);
  writer->begin();
  writer->execute("INSERT INTO workers VALUES('before', '')");
  writer->commit();
  other->execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'");
  const auto error = thrown_by([&] {
    writer->begin();
    writer->execute("INSERT INTO workers VALUES('after', '')");
    writer->commit();
  });
  EXPECT_EQ(error.reason(), "NOT_THE_LEADER");
  writer->rollback();
  Statement rows(*other, "SELECT id FROM workers");
  ASSERT_TRUE(rows.row());
  EXPECT_EQ(rows.text(0), "before");
  EXPECT_FALSE(rows.row());
}

TEST_F(Postgres, TheEpochIsNotRaisedWithinATransaction) {
  const JobStore makes_the_schema(folder_.path());
  const auto writer = connect(), other = connect();
  writer->fence(epoch(*writer), 60s);
  writer->begin();
  other->execute("SET lock_timeout = 100");
  EXPECT_THROW(other->execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'"), Error);
  writer->commit();
  other->execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'");
}

TEST_F(Postgres, AWriterThatStopsWithinATransactionIsGivenUp) {
  const JobStore makes_the_schema(folder_.path());
  const auto writer = connect(), other = connect();
  writer->fence(epoch(*writer), 50ms);
  writer->begin();
  writer->execute("INSERT INTO workers VALUES('w', '')");
  other->execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'");  // waits for the end of it
  EXPECT_EQ(thrown_by([&] { writer->commit(); }).reason(), "DATABASE_AWAY");
  EXPECT_FALSE(writer->is_alive());
}

TEST_F(Postgres, ACommitOfWhatHasFailedIsAFailure) {
  const JobStore makes_the_schema(folder_.path());
  const auto writer = connect();
  writer->begin();
  EXPECT_THROW(writer->execute("INSERT INTO workers VALUES(NULL, NULL)"), Error);
  EXPECT_EQ(thrown_by([&] { writer->commit(); }).reason(), "DATABASE");
}

TEST_F(Postgres, AReaderWhoseSessionWasEndedIsOpenedAgain) {
  JobStore store(folder_.path());
  connect()->execute(
      "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'SET "
      "synchronous_commit%' AND "
      "pid <> pg_backend_pid() AND backend_start > now() - interval '1 minute'");
  int failures = 0, answers = 0;
  for (int i = 0; i < 20; ++i) try {
      store.workers();
      ++answers;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
      ++failures;
    }
  EXPECT_GT(failures, 0);
  EXPECT_GE(answers, 10);
}

TEST_F(Postgres, ADatabaseOfALaterReleaseIsRefused) {
  { const JobStore makes_the_schema(folder_.path()); }
  connect()->execute("UPDATE meta SET value = 999 WHERE key = 'schema'");
  EXPECT_EQ(thrown_by([&] { JobStore later(folder_.path()); }).reason(), "NEWER_SCHEMA");
}

using Columns = std::set<std::pair<std::string, std::string>>;

Columns columns(Connection& connection, const char* sql) {
  Columns found;
  Statement rows(connection, sql);
  while (rows.row()) found.emplace(rows.text(0), rows.text(1));
  return found;
}

// More than are read at once.
TEST_F(Postgres, JobsOfTheSchemaBeforeModelsAreFoundByTheirs) {
  {
    JobStore store(folder_.path());
    std::future<void> last;
    for (std::uint64_t i = 1; i <= 1001; ++i) {
      StoreBatch batch;
      StoredJob& job = batch.submitted.emplace();
      job.record.id = "job" + std::to_string(10'000 + i);
      job.record.sequence = i;
      job.spec.set_model(i % 1000 == 0 ? "one" : "another");
      batch.outcome.changed = {job.record};
      last = store.write(std::move(batch));
    }
    last.get();
  }
  connect()->execute("ALTER TABLE jobs DROP COLUMN model; UPDATE meta SET value = 10 WHERE key = 'schema'");
  JobStore store(folder_.path());
  EXPECT_THAT(store.jobs({.model = "one"}), testing::SizeIs(1));
  EXPECT_THAT(store.jobs({.model = "another", .limit = 2000}), testing::SizeIs(1000));
}

TEST_F(Postgres, HasTheTablesAndColumnsOfADatabaseFile) {
  const JobStore makes_the_schema(folder_.path());
  const TempDir other;
  SqliteConnection file(other.path() / kDatabase);
  migrate(file);
  auto of_file =
      columns(file,
              "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
              "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE 'job_names%'");
  of_file.emplace("manifests", "rowid");  // every table of SQLite's has it
  EXPECT_EQ(
      columns(*connect(),
              "SELECT CAST(table_name AS text), CAST(column_name AS text) FROM information_schema.columns "
              "WHERE table_schema = current_schema()"),
      of_file);
  const auto connection = connect();
  Statement schema(*connection, "SELECT value FROM meta WHERE key = 'schema'");
  ASSERT_TRUE(schema.row());
  EXPECT_EQ(static_cast<std::size_t>(schema.integer(0)), newest_schema());
}

}  // namespace
}  // namespace wring

// The audit log's rows about calls that are refused: few of one caller, and none that waits for a full disk.
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>

#include "common/log.h"
#include "tests/server/closed_service.h"
#include "tests/server/small_disk.h"

namespace wring {
namespace {

using testing::Each;
using testing::SizeIs;

constexpr const char* kMethod = "Jobs/CancelJob";

Credentials with_token(const std::string& secret) {
  Credentials credentials;
  credentials.token = secret;
  return credentials;
}

void do_nothing(Door::Visit&) {}

[[noreturn]] void find_nothing(Door::Visit&) {
  throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no such job");
}

class Refusals : public Closed {
 protected:
  std::string refused(const Credentials& who, void (*body)(Door::Visit&) = do_nothing) {
    return refusal([&] { door_.call(kMethod, who, body); });
  }

  ManualClock clock_{server_->clock.now_ms()};
  Door door_{server_->store, server_->tokens, clock_, {false, 1, 200}};
};

TEST_F(Refusals, OfOneCallerLeaveFewRowsAndTheNextOneCountsTheOthers) {
  const auto viewer = with_token(secret(Scope::kViewer, "a")),
             other = with_token(secret(Scope::kViewer, "b"));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(refused(viewer), "SCOPE");
  EXPECT_THAT(audit(), SizeIs(60));
  EXPECT_EQ(refused(other), "SCOPE");
  EXPECT_THAT(audit(), SizeIs(61)) << "another caller's are its own";
  clock_.advance(11'000);
  EXPECT_EQ(refused(viewer), "SCOPE");
  EXPECT_EQ(audit().back().outcome, "SCOPE (140 more calls before it)");
  clock_.advance(11'000);
  EXPECT_EQ(refused(viewer), "SCOPE");
  EXPECT_EQ(audit().back().outcome, "SCOPE");
}

TEST_F(Refusals, ForTheRateAndByTheCallItselfAreOfTheSameFew) {
  const auto fast = with_token(secret(Scope::kSubmitter, "a"));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(refused(fast, find_nothing), "JOB_NOT_FOUND");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(refused(fast), "RATE_LIMITED");
  EXPECT_THAT(audit(), SizeIs(60));
}

TEST_F(Refusals, ThatAreManyHideNoChange) {
  const auto submitter = with_token(secret(Scope::kSubmitter, "a"));
  const auto change = [&](Door::Visit&) { server_->store.change([](Connection&) {}); };
  for (int i = 0; i < 100; ++i) {
    clock_.advance(1'000);  // for the rate; less than it takes for as many rows
    EXPECT_EQ(refused(submitter, find_nothing), "JOB_NOT_FOUND");
  }
  const auto before = audit().size();
  EXPECT_LT(before, 80u);
  clock_.advance(2'000);
  door_.call(kMethod, submitter, change);
  EXPECT_THAT(audit(), SizeIs(before + 1));
  EXPECT_EQ(audit().back().outcome, "OK");
  const auto change_and_fail = [&](Door::Visit& visit) {
    change(visit);
    find_nothing(visit);
  };
  EXPECT_EQ(refusal([&] { door_.call(kMethod, submitter, change_and_fail); }), "JOB_NOT_FOUND");
  EXPECT_THAT(audit(), SizeIs(before + 3)) << "the change, and how the call ended";
}

// A server that needs tokens, on a disk without a byte of room.
class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (!disk_.mounted()) GTEST_SKIP() << "this process may not mount a small file system";
    store_.emplace(at_);
    tokens_.emplace(*store_);
    door_.emplace(*store_, *tokens_, clock_, DoorOptions{false, 0, 200});
    Token admin;
    admin.scope = Scope::kAdmin;
    admin_ = with_token(tokens_->create(admin, clock_.now_ms()).second);
    std::ofstream(at_ / "ballast") << std::string(2 << 20, 'x');  // as much of it as fits
    spdlog::set_level(spdlog::level::off);                        // each call is a line
  }
  ~FullDisk() override { spdlog::set_level(level_); }

  std::string refused() {
    return thrown_by([&] {
             door_->call(kMethod, admin_, [&](Door::Visit& visit) {
               store_->check_space();
               find_nothing(visit);
             });
           })
        .reason();
  }

  // Runs `calls` and makes room. Whether they were answered before.
  bool are_answered(const std::function<void()>& calls) {
    auto done = std::async(std::launch::async, calls);
    const bool answered = done.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    std::filesystem::remove(at_ / "ballast");
    done.get();
    return answered;
  }

  std::vector<AuditEntry> audit() {
    store_->change([](Connection&) {});  // what waited is on disk then
    return store_->read([](Connection& db) { return audit_entries(db, 0, 5000); });
  }

  TempDir folder_;
  const std::filesystem::path at_ = folder_.path() / "small";
  const SmallDisk disk_{at_};
  const spdlog::level::level_enum level_ = spdlog::get_level();
  const SystemClock clock_;
  std::optional<JobStore> store_;
  std::optional<Tokens> tokens_;
  std::optional<Door> door_;
  Credentials admin_;
};

TEST_F(FullDisk, IsSaidToWhoHasATokenWithoutAWaitForItsAuditRow) {
  std::vector<std::string> reasons;
  EXPECT_TRUE(are_answered([&] {
    EXPECT_EQ(refused(), "JOB_NOT_FOUND");  // its row is what finds the disk full
    for (int i = 0; i < 8; ++i) reasons.push_back(refused());
  }));
  EXPECT_THAT(reasons, Each("DISK_FULL"));
  const auto rows = audit();
  ASSERT_THAT(rows, SizeIs(9)) << "written once there is room";
  EXPECT_EQ(rows.back().outcome, "DISK_FULL");
}

TEST_F(FullDisk, KeepsABoundedNumberOfAuditRowsInMemory) {
  EXPECT_TRUE(are_answered([&] {
    EXPECT_EQ(refused(), "JOB_NOT_FOUND");
    for (int i = 0; i < 1200; ++i) door_->call(kMethod, admin_, do_nothing);  // each has a row
  }));
  EXPECT_THAT(audit(), SizeIs(1001));
}

}  // namespace
}  // namespace wring

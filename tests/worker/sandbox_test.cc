// What an engine cannot do, tried by a program in its place (sandbox_probe.cc), and what it still can.
#include "worker/sandbox.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/subprocess.h"
#include "worker/engine.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class NoListener final : public EngineListener {
  void on_plan(const PlanLine&) override {}
  std::optional<Json> on_lookup(const LookupLine&) override { return std::nullopt; }
  void on_started(const StartedLine&) override {}
  void on_progress(const ProgressLine&) override {}
  void on_done(const DoneLine&) override {}
  void on_rows(const RowsLine&) override {}
  void on_log(const std::string&) override {}
  void on_memory(std::uint64_t) override {}
};

class SandboxTest : public testing::Test {
 protected:
  SandboxTest() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 10), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }

  // What the probe says of its attempts.
  std::string attempts(const Sandbox* sandbox, const OwnFiles& own = {},
                       const std::vector<std::string>& read = {}) {
    EngineRun run;
    run.program = probe_;
    run.folder = folder_.path();
    run.sandbox = sandbox;
    run.own = own;
    run.log = folder_.path() / "log";
    run.start = {{"port", port_},
                 {"descriptor", listener_.get()},
                 {"elsewhere", elsewhere_.path().string()},
                 {"read", read}};
    NoListener listener;
    const auto outcome = run_engine(run, listener, StopSignal());
    EXPECT_EQ(outcome.error->reason(), "ENGINE_CRASH") << outcome.error->message();  // it said no result
    return read_file(run.log);
  }

  const fs::path probe_ = sibling_program("wring_sandbox_probe");
  TempDir folder_, elsewhere_;
  FileDescriptor listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  int port_ = 0;
};

TEST_F(SandboxTest, TheProbeCanDoAllOfItWithoutOne) {
  const auto said = attempts(nullptr);
  for (const char* allowed :
       {"connect: done", "memory score of the agent: done", "another program: done",
        "signal to the agent: done", "netlink: done", "file elsewhere: done", "folder elsewhere: done",
        "link to elsewhere: done", "ptrace: No such process", "mount: No such file", "unshare: done"})
    EXPECT_THAT(said, HasSubstr(allowed));
}

// By other ways than the sandbox's own probe, so that no test below is left out where it need not be.
TEST_F(SandboxTest, TakesWhatTheKernelOffers) {
  const Sandbox sandbox(probe_, {folder_.path()});
  EXPECT_EQ(sandbox.has(Sandbox::kCalls), fs::exists("/proc/sys/kernel/seccomp/actions_avail"));
  EXPECT_EQ(sandbox.has(Sandbox::kPrograms), ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1) > 0);
  EXPECT_EQ(sandbox.has(Sandbox::kWrites), sandbox.has(Sandbox::kPrograms));
  EXPECT_EQ(sandbox.has(Sandbox::kReads), sandbox.has(Sandbox::kPrograms));
  EXPECT_EQ(sandbox.has(Sandbox::kNamespaces), std::system("unshare --user --net true 2>/dev/null") == 0);
}

TEST_F(SandboxTest, HasNoWayOutToTheNetworkAndALoopbackOfItsOwn) {
  const Sandbox sandbox(probe_, {folder_.path()});
  const auto said = attempts(&sandbox);
  EXPECT_THAT(said, Not(HasSubstr("connect: done")));
  EXPECT_THAT(said, HasSubstr("netlink: Address family not supported"));
  if (!sandbox.has(Sandbox::kNamespaces)) GTEST_SKIP() << "this kernel refuses namespaces";
  EXPECT_THAT(said, HasSubstr("connect: Connection refused"));  // its loopback has no such listener
  EXPECT_THAT(said, HasSubstr("own loopback: done"));
}

TEST_F(SandboxTest, HasNothingOfTheAgentsButThePipes) {
  const Sandbox sandbox(probe_, {folder_.path()});
  if (!sandbox.has(Sandbox::kNamespaces)) GTEST_SKIP() << "this kernel refuses namespaces";
  const auto said = attempts(&sandbox);
  EXPECT_THAT(said, HasSubstr("descriptors: 0 1 2 3 4\n"));
  EXPECT_THAT(said, HasSubstr("descriptor of the agent: Permission denied"));
  EXPECT_THAT(said, HasSubstr("memory of the agent: Permission denied"));
  EXPECT_THAT(said, HasSubstr("core file: 0"));
  EXPECT_THAT(said, HasSubstr("no new privileges: 1"));
  EXPECT_THAT(said, HasSubstr("folder: " + folder_.path().string()));
  if (sandbox.has(Sandbox::kScope))
    EXPECT_THAT(said, HasSubstr("signal to the agent: Operation not permitted"));
}

TEST_F(SandboxTest, ExecutesItsOwnProgramAndNoOther) {
  const Sandbox sandbox(probe_, {folder_.path()});
  if (!sandbox.has(Sandbox::kPrograms)) GTEST_SKIP() << "this kernel has no Landlock";
  const auto said = attempts(&sandbox);
  EXPECT_THAT(said, HasSubstr("another program: Permission denied"));
  EXPECT_THAT(said, HasSubstr("its own program: done"));
}

TEST_F(SandboxTest, WritesInItsFoldersAndNowhereElse) {
  std::ofstream(elsewhere_.path() / "theirs") << "kept";
  const Sandbox sandbox(probe_, {folder_.path()});
  if (!sandbox.has(Sandbox::kWrites)) GTEST_SKIP() << "this kernel has no Landlock";
  const auto said = attempts(&sandbox);
  for (const char* allowed : {"file of its own: done", "folder of its own: done", "move of its own: done",
                              "peak of memory: done", "read elsewhere: done"})
    EXPECT_THAT(said, HasSubstr(allowed));
  for (const char* refused : {"file elsewhere", "folder elsewhere", "overwrite elsewhere",
                              "removal elsewhere", "memory score of the agent"})
    EXPECT_THAT(said, HasSubstr(std::string(refused) + ": Permission denied"));
  EXPECT_THAT(said, Not(HasSubstr("link to elsewhere: done")));
  EXPECT_EQ(read_file(elsewhere_.path() / "theirs"), "kept");
}

TEST_F(SandboxTest, OfOneEngineKeepsItOutOfAnothersFolder) {
  std::ofstream(elsewhere_.path() / "theirs") << "kept";
  const Sandbox sandbox(probe_, {folder_.path(), elsewhere_.path()});
  if (!sandbox.has(Sandbox::kWrites)) GTEST_SKIP() << "this kernel has no Landlock";
  const auto said = attempts(&sandbox);
  EXPECT_THAT(said, HasSubstr("move of its own: done"));
  EXPECT_THAT(said, HasSubstr("peak of memory: done"));
  EXPECT_THAT(said, HasSubstr("overwrite elsewhere: Permission denied"));
  EXPECT_EQ(read_file(elsewhere_.path() / "theirs"), "kept");
}

TEST_F(SandboxTest, ReadsOfWhatIsGuardedItsOwnAlone) {
  const TempDir guarded;
  const auto at = [&](const std::string& name) { return (guarded.path() / name).string(); };
  for (const char* folder : {"blobs", "own", "theirs"}) fs::create_directories(at(folder));
  for (const char* file : {"key", "blobs/known", "own/weights", "theirs/weights"})
    std::ofstream(at(file)) << "secret";
  const auto link = (elsewhere_.path() / "link").string(), plain = (elsewhere_.path() / "plain").string();
  fs::create_symlink(at("key"), link);
  std::ofstream(plain) << "no secret";
  const std::vector<std::string> allowed{at("blobs/known"), at("own"), at("own/weights"),  plain,
                                         probe_.string(),   "/usr",    "/proc/self/status"};
  const std::vector<std::string> refused{guarded.path().string(), at("key"), at("blobs"),
                                         at("theirs/weights"),    link,      "/proc/self/root" + at("key")};
  auto all = allowed;
  all.insert(all.end(), refused.begin(), refused.end());
  const auto without = attempts(nullptr, {}, all);
  for (const auto& path : all) EXPECT_THAT(without, HasSubstr("read " + path + ": done\n"));

  const Sandbox sandbox(probe_, {folder_.path()}, {guarded.path()});
  if (!sandbox.has(Sandbox::kReads)) GTEST_SKIP() << "this kernel has no Landlock";
  const auto said = attempts(&sandbox, {{}, {guarded.path() / "own"}, {guarded.path() / "blobs"}}, all);
  for (const auto& path : allowed) EXPECT_THAT(said, HasSubstr("read " + path + ": done\n"));
  for (const auto& path : refused) EXPECT_THAT(said, HasSubstr("read " + path + ": Permission denied\n"));
}

// A secret as Kubernetes mounts one.
TEST_F(SandboxTest, DoesNotReadTheFileThatAGuardedLinkLeadsToAndReadsWhatLiesBesideIt) {
  const auto key = elsewhere_.path() / "key", real = elsewhere_.path() / "data" / "key",
             beside = elsewhere_.path() / "data" / "crt";
  fs::create_directories(real.parent_path());
  for (const auto& file : {real, beside}) std::ofstream(file) << "text";
  fs::create_symlink("data/key", key);
  const Sandbox sandbox(probe_, {folder_.path()}, {key});
  if (!sandbox.has(Sandbox::kReads)) GTEST_SKIP() << "this kernel has no Landlock";
  const auto said = attempts(&sandbox, {}, {key.string(), real.string(), beside.string()});
  for (const auto& path : {key, real})
    EXPECT_THAT(said, HasSubstr("read " + path.string() + ": Permission denied\n"));
  EXPECT_THAT(said, HasSubstr("read " + beside.string() + ": done\n"));
}

TEST_F(SandboxTest, MakesABoundedNumberOfProcessesAndThreads) {
  const Sandbox sandbox(probe_, {folder_.path()});
  if (!sandbox.has(Sandbox::kProcesses)) GTEST_SKIP() << "of root, or on this kernel, they cannot be bounded";
  EXPECT_THAT(attempts(&sandbox), HasSubstr("most processes: 8192\n"));
}

TEST_F(SandboxTest, IsRefusedCallsThatReachOutsideAndKeepsThreadsAndLocalSockets) {
  const Sandbox sandbox(probe_, {folder_.path()});
  if (!sandbox.has(Sandbox::kCalls)) GTEST_SKIP() << "this kernel has no seccomp filters";
  const auto said = attempts(&sandbox);
  for (const char* call :
       {"ptrace", "unshare", "mount", "keyctl", "bpf", "perf_event_open", "io_uring_setup", "clone"})
    EXPECT_THAT(said, HasSubstr(std::string(call) + ": Operation not permitted"));
  EXPECT_THAT(said, HasSubstr("unix: done"));
  EXPECT_THAT(said, HasSubstr("a thread: done"));
}

TEST_F(SandboxTest, OfAScriptLetsItsInterpreterRun) {
  const auto script = folder_.path() / "engine";
  std::ofstream(script) << "#!/bin/sh\n";
  EXPECT_FALSE(Sandbox(script, {}).has(Sandbox::kPrograms));
}

TEST_F(SandboxTest, SaysWhatIsOn) {
  const Sandbox sandbox(probe_, {folder_.path()});
  const auto json = sandbox.to_json();
  for (const auto& [name, on] : json.items()) EXPECT_THAT(sandbox.describe(), HasSubstr(name));
  EXPECT_EQ(json.at("calls"), sandbox.has(Sandbox::kCalls));
}

}  // namespace
}  // namespace wring

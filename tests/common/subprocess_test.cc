// Other programs: how they end is told, nothing of ours leaks into them, and their whole group ends with
// them.
#include "common/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>

#include "common/error.h"

namespace wring {
namespace {

SubprocessOptions shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  return options;
}

// Standard output of a script, to its end.
std::string output_of(SubprocessOptions options) {
  auto pipe = Pipe::create();
  options.descriptors.push_back({pipe.write.get(), STDOUT_FILENO});
  Subprocess child(options);
  pipe.write.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(pipe.read.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  child.wait();
  return text;
}

TEST(Subprocess, TellsExitStatusesFromSignals) {
  const auto exited = Subprocess(shell("exit 7")).wait();
  EXPECT_EQ(exited.code, 7);
  EXPECT_EQ(exited.signal, 0);
  const auto killed = Subprocess(shell("kill -TERM $$")).wait();
  EXPECT_EQ(killed.code, -1);
  EXPECT_EQ(killed.signal, SIGTERM);
  EXPECT_GT(exited.peak_rss_bytes, 100'000u);
}

TEST(Subprocess, ThatCannotBeStartedIsAnErrorHere) {
  SubprocessOptions options;
  options.argv = {"/nonexistent/program"};
  try {
    Subprocess child(options);
    ADD_FAILURE() << "was started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(error.message().find("/nonexistent/program"), std::string::npos);
  }
}

TEST(Subprocess, SeesOnlyTheDescriptorsThatAreNamed) {
  const auto open = Pipe::create();
  const auto seen = output_of(shell("ls /proc/self/fd | wc -l"));
  EXPECT_EQ(std::atoi(seen.c_str()), 4);  // 0, 1, 2 and the one that ls reads the folder with
}

TEST(Subprocess, HasTheParentsEnvironmentWithWhatIsSetOnTop) {
  ::setenv("WRING_TEST_KEPT", "kept", 1);
  ::setenv("WRING_TEST_REPLACED", "old", 1);
  auto options = shell("echo $WRING_TEST_KEPT $WRING_TEST_REPLACED $WRING_TEST_NEW; pwd");
  options.environment = {{"WRING_TEST_REPLACED", "new"}, {"WRING_TEST_NEW", "here"}};
  options.working_directory = "/usr";
  EXPECT_EQ(output_of(options), "kept new here\n/usr\n");
}

TEST(Subprocess, EndsWithItsWholeGroup) {
  auto pipe = Pipe::create();
  auto options = shell("sleep 1000 & echo started; wait");
  options.descriptors = {{pipe.write.get(), STDOUT_FILENO}};
  {
    Subprocess child(options);
    pipe.write.reset();
    char buffer[16];
    ASSERT_GT(::read(pipe.read.get(), buffer, sizeof buffer), 0);  // both hold the pipe now
    EXPECT_FALSE(child.poll());
  }
  char left;
  EXPECT_EQ(::read(pipe.read.get(), &left, 1), 0);  // end of file: the grandchild is gone too
}

TEST(Subprocess, LimitsItsAddressSpace) {
  auto options = shell("exec /usr/bin/env true");
  options.address_space_bytes = 1 << 20;
  bool failed = false;
  try {
    failed = Subprocess(options).wait().code != 0;
  } catch (const Error&) {
    failed = true;
  }
  EXPECT_TRUE(failed);
}

TEST(Spinning, OfChildrenIsLimitedUnlessTheEnvironmentSaysOtherwise) {
  ::unsetenv("GOMP_SPINCOUNT");
  ::setenv("OMP_WAIT_POLICY", "active", 1);
  limit_spinning_of_children();
  EXPECT_EQ(std::getenv("GOMP_SPINCOUNT"), nullptr);
  ::unsetenv("OMP_WAIT_POLICY");
  limit_spinning_of_children();
  EXPECT_STREQ(std::getenv("GOMP_SPINCOUNT"), "10000");
  ::setenv("GOMP_SPINCOUNT", "5", 1);
  limit_spinning_of_children();
  EXPECT_STREQ(std::getenv("GOMP_SPINCOUNT"), "5");
}

// The bytes of `fd` to their end.
std::string rest_of(int fd) {
  std::string text;
  char buffer[256];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

TEST(Subprocess, GivesTheChildEachDescriptorUnderItsNumberAlsoWhereTheyChangePlaces) {
  auto a = Pipe::create(), b = Pipe::create();
  auto options = shell("echo to-a >&$A; echo to-b >&$B");
  const int number_a = b.write.get(), number_b = a.write.get();  // each has the other's number
  ASSERT_LT(std::max(number_a, number_b), 10);                   // sh redirects to single digits only
  options.environment = {{"A", std::to_string(number_a)}, {"B", std::to_string(number_b)}};
  options.descriptors = {{a.write.get(), number_a}, {b.write.get(), number_b}};
  Subprocess child(options);
  a.write.reset();
  b.write.reset();
  EXPECT_EQ(rest_of(a.read.get()), "to-a\n");
  EXPECT_EQ(rest_of(b.read.get()), "to-b\n");
  EXPECT_EQ(child.wait().code, 0);
}

TEST(Subprocess, OfAParentWithHundredsOfDescriptorsStillGetsTheRightOnes) {
  auto first = Pipe::create(), second = Pipe::create();
  std::vector<FileDescriptor> many;  // numbers 200 to 209 are taken, by both pipes in turn
  for (int number = 200; number < 210; ++number) {
    const Pipe& pipe = number % 2 ? first : second;
    ASSERT_EQ(::dup3(pipe.write.get(), number, O_CLOEXEC), number);
    many.emplace_back(number);
  }
  auto options = shell("echo out; echo err >&2");
  options.descriptors = {{201, STDOUT_FILENO}, {200, STDERR_FILENO}};
  Subprocess child(options);
  many.clear();
  first.write.reset();
  second.write.reset();
  EXPECT_EQ(rest_of(first.read.get()), "out\n");
  EXPECT_EQ(rest_of(second.read.get()), "err\n");
  EXPECT_EQ(child.wait().code, 0);
}

TEST(Subprocess, DoesNotInheritADescriptorThatIsNotCloseOnExec) {
  const FileDescriptor low(::open("/dev/null", O_RDONLY));
  const FileDescriptor high(::fcntl(low.get(), F_DUPFD, 300));
  ASSERT_GE(high.get(), 300);
  const auto script = [](int fd) {
    return "test -e /proc/self/fd/" + std::to_string(fd) + " && echo open || echo closed";
  };
  EXPECT_EQ(output_of(shell(script(low.get()))), "closed\n");
  EXPECT_EQ(output_of(shell(script(high.get()))), "closed\n");
}

TEST(Subprocess, ThatCannotBeStartedSaysWhy) {
  const auto reason_of = [](const SubprocessOptions& options) {
    try {
      Subprocess child(options);
    } catch (const Error& error) {
      return error.reason();
    }
    return std::string();
  };
  const TempDir folder;
  write_file_atomic(folder.path() / "text", "no program");
  SubprocessOptions text;
  text.argv = {(folder.path() / "text").string()};
  EXPECT_EQ(reason_of(text), "NO_ACCESS");
  auto elsewhere = shell("exit 0");
  elsewhere.working_directory = folder.path() / "none";
  EXPECT_EQ(reason_of(elsewhere), "NO_SUCH_FILE");
  auto closed = shell("exit 0");
  closed.descriptors = {{199, STDOUT_FILENO}};
  EXPECT_EQ(reason_of(closed), "IO_ERROR");
  EXPECT_EQ(reason_of({}), "SPAWN");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // and no child is left to be reaped
}

// A child that has said "ready" and then waits for a line.
struct WaitingChild {
  Pipe input = Pipe::create(), output = Pipe::create();
  std::optional<Subprocess> process;

  explicit WaitingChild(const std::string& setup = "", SubprocessOptions options = {}) {
    options.argv = shell(setup + "echo ready; read line; exit 5").argv;
    options.descriptors = {{input.read.get(), STDIN_FILENO}, {output.write.get(), STDOUT_FILENO}};
    process.emplace(options);
    input.read.reset();
    output.write.reset();
    char text[6];
    EXPECT_EQ(::read(output.read.get(), text, sizeof text), 6);
  }
  ExitStatus finish() {
    input.write.reset();
    return process->wait();
  }
};

TEST(Subprocess, IsPolledWithoutWaitingAndKeepsItsStatus) {
  WaitingChild child;
  EXPECT_FALSE(child.process->poll());
  EXPECT_EQ(child.finish().code, 5);
  ASSERT_TRUE(child.process->poll());
  EXPECT_EQ(child.process->poll()->code, 5);
  EXPECT_EQ(child.process->wait().code, 5);
  EXPECT_NO_THROW(child.process->signal(SIGKILL));  // to nobody
}

TEST(Subprocess, SignalsItsWholeGroup) {
  auto pipe = Pipe::create();
  auto options = shell(
      "trap 'exit 3' TERM; (trap 'echo inner; exit' TERM; echo up; while :; do sleep 0.01; done) & "
      "while :; do wait; done");
  options.descriptors = {{pipe.write.get(), STDOUT_FILENO}};
  Subprocess child(options);
  pipe.write.reset();
  char up[3];
  ASSERT_EQ(::read(pipe.read.get(), up, sizeof up), 3);
  child.signal(SIGTERM);
  EXPECT_EQ(rest_of(pipe.read.get()), "inner\n");
  EXPECT_EQ(child.wait().code, 3);
}

TEST(Subprocess, LeadsAGroupOfItsOwnUnlessToldOtherwise) {
  WaitingChild leader;
  EXPECT_EQ(::getpgid(leader.process->pid()), leader.process->pid());
  SubprocessOptions options;
  options.own_process_group = false;
  WaitingChild member("", options);
  EXPECT_EQ(::getpgid(member.process->pid()), ::getpgrp());
}

TEST(Subprocess, StartsWithTheSignalsOfAFreshProcess) {
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, &before);
  const auto pipe_handler = ::signal(SIGPIPE, SIG_IGN);
  const auto blocked = Subprocess(shell("kill -TERM $$; exit 0")).wait();
  const auto ignored = Subprocess(shell("kill -PIPE $$; exit 0")).wait();
  ::signal(SIGPIPE, pipe_handler);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(blocked.signal, SIGTERM);
  EXPECT_EQ(ignored.signal, SIGPIPE);
}

TEST(Subprocess, DiesWithTheThreadThatStartedItUnlessToldOtherwise) {
  std::optional<WaitingChild> bound, free, asked;
  std::thread([&] {
    bound.emplace();
    SubprocessOptions options;
    options.at_parents_end = 0;
    free.emplace("", options);
    options.at_parents_end = SIGTERM;
    asked.emplace("", options);
  }).join();
  EXPECT_EQ(bound->process->wait().signal, SIGKILL);
  EXPECT_EQ(asked->process->wait().signal, SIGTERM);
  EXPECT_EQ(free->finish().code, 5);
}

TEST(Subprocess, BelongsToWhoeverItWasMovedTo) {
  WaitingChild child;
  const pid_t pid = child.process->pid();
  {
    Subprocess moved(std::move(*child.process));
    EXPECT_EQ(moved.pid(), pid);
    child.process.reset();  // ends nothing
    EXPECT_FALSE(moved.poll());
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(SiblingProgram, LiesBesideThisExecutable) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  EXPECT_EQ(sibling_program(self.filename().string()), self);
}

}  // namespace
}  // namespace wring

// Other programs: how they end is told, nothing of ours leaks into them, and their whole group ends with
// them.
#include "common/subprocess.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

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

}  // namespace
}  // namespace wring

// What a program says is kept, within bounds of time and size.
#include "common/capture.h"

#include <gtest/gtest.h>

#include "common/clock.h"

namespace wring {
namespace {

CapturedRun run(const std::string& script, const CaptureOptions& options = {}) {
  SubprocessOptions program;
  program.argv = {"/bin/sh", "-c", script};
  return run_captured(program, options);
}

TEST(Capture, KeepsBothStreamsApartOrTogether) {
  CaptureOptions options;
  options.standard_error = StandardError::kKeep;
  const auto apart = run("echo out; echo err >&2; exit 3", options);
  EXPECT_EQ(apart.output, "out\n");
  EXPECT_EQ(apart.error, "err\n");
  EXPECT_EQ(apart.status.code, 3);
  options.standard_error = StandardError::kMerge;
  EXPECT_EQ(run("echo out; echo err >&2", options).output, "out\nerr\n");
}

TEST(Capture, AProgramThatTakesTooLongIsKilledWithWhatItStarted) {
  CaptureOptions options;
  options.seconds = 0.2;
  const Stopwatch watch;
  const auto slow = run("echo begun; sleep 60 & sleep 60", options);
  EXPECT_TRUE(slow.timed_out);
  EXPECT_EQ(slow.status.signal, 9);
  EXPECT_EQ(slow.output, "begun\n");
  EXPECT_TRUE(run("exec >&- 2>&-; sleep 60", options).timed_out) << "its streams are closed, and it goes on";
  EXPECT_LT(watch.seconds(), 20);
}

TEST(Capture, WhatIsTooLongIsCutAndTheProgramEndsAllTheSame) {
  CaptureOptions options;
  options.max_bytes = 1000;
  const auto loud = run("head -c 1000000 /dev/zero | tr '\\0' x", options);
  EXPECT_EQ(loud.output, std::string(1000, 'x'));
  EXPECT_TRUE(loud.cut);
  EXPECT_EQ(loud.status.code, 0);
}

TEST(Capture, AnEnvironmentThatIsNotInheritedHoldsWhatIsNamedAlone) {
  SubprocessOptions program;
  program.argv = {"/usr/bin/env"};
  program.inherit_environment = false;
  program.environment = {{"ONE", "1"}};
  EXPECT_EQ(run_captured(program, {}).output, "ONE=1\n");
}

}  // namespace
}  // namespace wring

// The bars that a person watches: redrawn in place on a terminal, a line now and then elsewhere.
#include "common/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wring {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProgressBarTest : public ::testing::Test {
 protected:
  ProgressBarOptions options(bool terminal) {
    ProgressBarOptions options;
    options.write = [this](std::string_view text) { output_ += text; };
    options.now = [this] { return now_; };
    options.terminal = terminal;
    return options;
  }

  std::string output_;
  double now_ = 100;
};

TEST_F(ProgressBarTest, ARunningStepShowsBarCountTimeMetricAndTimeLeft) {
  BarStep step{"gptq", BarState::kRunning, {15, 30, "blocks", "layer error", 0.0213, 9}, 10, 0};
  EXPECT_EQ(
      render_step(step, 2, 10),
      "  2 gptq        --------------->                   15/30    0:10   layer error 0.0213   ~0:09 left");
}

TEST_F(ProgressBarTest, TimeLeftIsEstimatedFromThePaceWhereTheStepDoesNotSay) {
  BarStep step{"gptq", BarState::kRunning, {10, 30, "blocks", "", 0, 0}, 10, 0};
  EXPECT_THAT(render_step(step, 1, 10), HasSubstr("~0:20 left"));
}

TEST_F(ProgressBarTest, AStepThatHasEndedShowsAWholeBarItsTimeAndPeak) {
  BarStep step{"calibrate", BarState::kDone, {30, 30, "blocks", "", 0, 0}, 12, 900'000'000};
  const auto line = render_step(step, 1, 10);
  EXPECT_THAT(line, HasSubstr("------------------------------ "));
  EXPECT_THAT(line, HasSubstr("0:12   peak 900.0 MB"));
  EXPECT_THAT(line, Not(HasSubstr("left")));
}

TEST_F(ProgressBarTest, BytesAreShownAsSizes) {
  BarStep step{"upload", BarState::kRunning, {12'300'000, 98'400'000, "bytes", "", 0, 0}, 0, 0};
  EXPECT_THAT(render_step(step, 1, 10), HasSubstr("12.3 MB / 98.4 MB"));
}

TEST_F(ProgressBarTest, OffATerminalNoControlCharacterIsWrittenAndAStepWritesFewLines) {
  {
    ProgressBar bar(options(false));
    bar.plan({"gptq"});
    bar.start(0);
    for (std::uint64_t i = 0; i <= 1000; ++i) {
      now_ += 0.1;
      bar.update(0, {i, 1000, "blocks", "", 0, 0});
    }
    bar.finish(0, BarState::kDone, 100);
  }
  EXPECT_THAT(output_, Not(HasSubstr("\x1b")));
  const auto lines = std::count(output_.begin(), output_.end(), '\n');
  EXPECT_GE(lines, 8);
  EXPECT_LE(lines, 14);
}

TEST_F(ProgressBarTest, OnATerminalEachFrameGoesBackOverTheOneBefore) {
  ProgressBar bar(options(true));
  bar.title("job k3f9");
  bar.plan({"calibrate", "gptq"});
  bar.start(0);
  output_.clear();
  now_ += 1;
  bar.update(0, {1, 2, "blocks", "", 0, 0});
  EXPECT_THAT(output_, ::testing::StartsWith("\x1b[3F\x1b[J"));  // title and two steps
  EXPECT_EQ(std::count(output_.begin(), output_.end(), '\n'), 3);
}

TEST_F(ProgressBarTest, RedrawsAtMostTenTimesASecond) {
  ProgressBar bar(options(true));
  bar.plan({"gptq"});
  bar.start(0);
  now_ += 1;
  output_.clear();
  for (int i = 0; i < 100; ++i) {
    now_ += 0.01;
    bar.update(0, {static_cast<std::uint64_t>(i), 100, "blocks", "", 0, 0});
  }
  const auto frames = std::count(output_.begin(), output_.end(), '\n');
  EXPECT_GE(frames, 9);
  EXPECT_LE(frames, 11);
}

TEST_F(ProgressBarTest, NoLineIsWiderThanTheTerminalSoThatRedrawingStaysInPlace) {
  auto narrow = options(true);
  narrow.width = 40;
  ProgressBar bar(narrow);
  bar.plan({"gptq"});
  bar.start(0);
  now_ += 20;
  output_.clear();
  bar.update(0, {1, 3, "blocks", "a metric with a long name", 1, 100});
  EXPECT_LE(output_.size(), std::string("\x1b[1F\x1b[J").size() + 41);
}

TEST_F(ProgressBarTest, EightyColumnsHoldTheCountTheTimeTheMetricAndWhatIsLeft) {
  auto standard = options(true);
  standard.width = 80;
  ProgressBar bar(standard);
  bar.plan({"evaluate: perplexity (before)", "gptq"});
  bar.start(1);
  now_ += 20;
  output_.clear();
  bar.update(1, {15, 30, "blocks", "layer error", 0.0213, 100});
  EXPECT_THAT(output_, HasSubstr("15/30"));
  EXPECT_THAT(output_, HasSubstr("layer error 0.0213"));
  EXPECT_THAT(output_, HasSubstr("~1:40 left"));
}

TEST_F(ProgressBarTest, AReportThatComesAfterTheEndDoesNotReopenTheStep) {
  ProgressBar bar(options(true));
  bar.plan({"gptq"});
  bar.finish(0, BarState::kCached, 0);
  bar.update(0, {1, 2, "blocks", "", 0, 0});
  EXPECT_EQ(bar.steps()[0].state, BarState::kCached);
}

TEST_F(ProgressBarTest, QuietWritesNothing) {
  auto quiet = options(false);
  quiet.quiet = true;
  ProgressBar bar(quiet);
  bar.title("job");
  bar.plan({"gptq"});
  bar.start(0);
  bar.finish(0, BarState::kDone, 1);
  EXPECT_EQ(output_, "");
}

}  // namespace
}  // namespace wring

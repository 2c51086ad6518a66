// Drawing the steps of a job on a terminal, or as plain lines.
#include "common/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "common/text.h"

namespace wring {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 2.0;
constexpr double kLineShare = 0.1;
constexpr int kWide = 110;  // columns, from which names and bars are drawn at their full width

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double share(const BarProgress& progress) {
  if (progress.total == 0) return 0;
  return std::min(1.0, static_cast<double>(progress.done) / static_cast<double>(progress.total));
}

bool ended(const BarStep& step) {
  return step.state == BarState::kDone || step.state == BarState::kCached;
}

std::string bar(const BarStep& step, int width) {
  if (step.state == BarState::kPending) return std::string(static_cast<std::size_t>(width), ' ');
  const double filled_share = ended(step) ? 1.0 : share(step.progress);
  const int filled = static_cast<int>(std::floor(filled_share * width));
  std::string text(static_cast<std::size_t>(filled), '-');
  if (step.state == BarState::kRunning && filled < width) text += '>';
  text.resize(static_cast<std::size_t>(width), ' ');
  return text;
}

std::string count(const BarProgress& progress) {
  if (progress.unit == "bytes") {
    const auto done = human_bytes(progress.done);
    return progress.total == 0 ? done : done + " / " + human_bytes(progress.total);
  }
  if (progress.total == 0) return progress.done == 0 ? "" : std::to_string(progress.done);
  return std::to_string(progress.done) + "/" + std::to_string(progress.total);
}

std::string significant(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// Seconds left, by the engine's own word or from the pace so far; 0 where neither is known.
double time_left(const BarStep& step) {
  if (step.progress.eta_seconds > 0) return step.progress.eta_seconds;
  const double done = share(step.progress);
  return done > 0.02 && step.seconds > 1 ? step.seconds * (1 - done) / done : 0;
}

std::string remark(const BarStep& step) {
  std::string text;
  const auto add = [&](const std::string& part) { text += "   " + part; };
  if (step.state == BarState::kCached) add("cached");
  if (step.state == BarState::kFailed) add("failed");
  if (ended(step) && step.peak_bytes > 0) add("peak " + human_bytes(step.peak_bytes));
  if (!step.progress.metric.empty()) add(step.progress.metric + " " + significant(step.progress.value));
  if (step.state == BarState::kRunning)
    if (const double left = time_left(step); left > 0) add("~" + human_duration(left) + " left");
  return text;
}

std::size_t name_width(const std::vector<BarStep>& steps, int line) {
  std::size_t width = 10;
  for (const auto& step : steps) width = std::max(width, step.name.size());
  return std::min<std::size_t>(width, line < kWide ? 14 : 34);
}

// On a narrow terminal the figures matter more than the bar.
int bar_width(int line) {
  return line < kWide ? 6 : 30;
}

std::string trimmed_right(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

const char* color_of(BarState state) {
  switch (state) {
    case BarState::kPending:
      return "\x1b[2m";
    case BarState::kRunning:
      return "\x1b[36m";
    case BarState::kDone:
    case BarState::kCached:
      return "\x1b[32m";
    case BarState::kFailed:
      return "\x1b[31m";
  }
  return "";
}

}  // namespace

std::string render_step(const BarStep& step, std::size_t number, std::size_t name_width, int bar_width) {
  char head[128];
  std::snprintf(head, sizeof head, "%3zu %-*.*s  ", number, static_cast<int>(name_width),
                static_cast<int>(name_width), step.name.c_str());
  std::string text = head;
  if (step.state == BarState::kPending) return trimmed_right(text);
  char middle[96];
  const bool wide = step.progress.unit == "bytes";
  std::snprintf(middle, sizeof middle, "%s %*s %7s", bar(step, bar_width).c_str(), wide ? 20 : 9,
                count(step.progress).c_str(), human_duration(step.seconds).c_str());
  return trimmed_right(text + middle + remark(step));
}

ProgressBarOptions ProgressBarOptions::standard_error(bool quiet) {
  ProgressBarOptions options;
  options.quiet = quiet;
  options.terminal = stderr_is_terminal();
  options.color = options.terminal && !std::getenv("NO_COLOR");
  winsize size{};
  if (options.terminal && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
    options.width = size.ws_col;
  return options;
}

ProgressBar::ProgressBar(ProgressBarOptions options) : options_(std::move(options)) {
  if (!options_.now) options_.now = steady_seconds;
  if (!options_.write)
    options_.write = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    };
}

ProgressBar::~ProgressBar() {
  close();
}

BarStep& ProgressBar::step(std::size_t index) {
  if (index >= steps_.size()) {
    steps_.resize(index + 1);
    started_.resize(index + 1, options_.now());
    line_share_.resize(index + 1, 0);
    line_time_.resize(index + 1, -kLineSeconds);
  }
  return steps_[index];
}

void ProgressBar::title(std::string text) {
  if (text == title_) return;
  title_ = std::move(text);
  if (options_.terminal)
    draw(true);
  else
    line(title_);
}

void ProgressBar::plan(const std::vector<std::string>& names) {
  steps_.clear();
  started_.clear();
  line_share_.clear();
  line_time_.clear();
  for (std::size_t i = 0; i < names.size(); ++i) step(i).name = names[i];
  draw(true);
}

void ProgressBar::start(std::size_t index, std::string_view name, double elapsed) {
  auto& entry = step(index);
  if (!name.empty()) entry.name = name;
  entry.state = BarState::kRunning;
  entry.seconds = elapsed;
  entry.progress = {};
  started_[index] = options_.now() - elapsed;
  line_share_[index] = 0;
  line_time_[index] = options_.now();
  if (!options_.terminal)
    line("  " + std::to_string(index + 1) + "/" + std::to_string(steps_.size()) + " " + entry.name +
         " started");
  draw(true);
}

void ProgressBar::update(std::size_t index, const BarProgress& progress) {
  auto& entry = step(index);
  if (ended(entry)) return;  // a late report
  if (entry.state == BarState::kPending) start(index);
  steps_[index].progress = progress;
  steps_[index].seconds = options_.now() - started_[index];
  if (!options_.terminal) {
    const double at = share(progress);
    const bool due = at >= line_share_[index] + kLineShare || (at >= 1 && line_share_[index] < 1);
    if (due && options_.now() - line_time_[index] >= kLineSeconds) {
      line_share_[index] = at;
      line_time_[index] = options_.now();
      line(render_step(steps_[index], index + 1, name_width(steps_, kWide)));
    }
  }
  draw(false);
}

void ProgressBar::finish(std::size_t index, BarState state, double seconds, std::uint64_t peak_bytes) {
  auto& entry = step(index);
  entry.state = state;
  entry.seconds = seconds;
  entry.peak_bytes = peak_bytes;
  if (state == BarState::kDone) entry.progress.done = entry.progress.total;
  if (!options_.terminal) line(render_step(entry, index + 1, name_width(steps_, kWide)));
  draw(true);
}

void ProgressBar::note(std::string_view text) {
  if (!options_.terminal) return line(std::string(text));
  if (options_.quiet || closed_) return;
  std::string out = drawn_lines_ > 0 ? "\x1b[" + std::to_string(drawn_lines_) + "F\x1b[J" : "";
  drawn_lines_ = 0;
  options_.write(out + std::string(text) + "\n");
  draw(true);
}

void ProgressBar::tick() {
  for (std::size_t i = 0; i < steps_.size(); ++i)
    if (steps_[i].state == BarState::kRunning) steps_[i].seconds = options_.now() - started_[i];
  draw(false);
}

void ProgressBar::close() {
  if (closed_) return;
  draw(true);
  closed_ = true;
}

void ProgressBar::line(const std::string& text) {
  if (!options_.quiet && !closed_) options_.write(text + "\n");
}

// A line as wide as the terminal at most, so that each takes one row and redrawing finds its place.
std::string ProgressBar::frame() {
  std::string text;
  drawn_lines_ = 0;
  const auto add = [&](std::string row, const char* color) {
    if (row.size() > static_cast<std::size_t>(options_.width)) row.resize(options_.width);
    text += options_.color && *color ? color + row + "\x1b[0m\n" : row + "\n";
    ++drawn_lines_;
  };
  if (!title_.empty()) add(title_, "\x1b[1m");
  for (std::size_t i = 0; i < steps_.size(); ++i)
    add(render_step(steps_[i], i + 1, name_width(steps_, options_.width), bar_width(options_.width)),
        color_of(steps_[i].state));
  return text;
}

void ProgressBar::draw(bool force) {
  if (!options_.terminal || options_.quiet || closed_) return;
  const double now = options_.now();
  if (!force && now - last_draw_ < kRedrawSeconds) return;
  last_draw_ = now;
  const std::string back = drawn_lines_ > 0 ? "\x1b[" + std::to_string(drawn_lines_) + "F\x1b[J" : "";
  options_.write(back + frame());
}

}  // namespace wring

// What waiting looks like: one line a step, with bar, count, time, metric and time left; plain lines off a
// terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace wring {

// How far a step is. `metric` names what `value` measures ("layer error"); empty: nothing to show.
struct BarProgress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0: unknown
  std::string unit;         // "blocks", "windows"; "bytes" is shown as 12.3 MB
  std::string metric;
  double value = 0;
  double eta_seconds = 0;  // 0: unknown, then estimated from the elapsed time
};

enum class BarState { kPending, kRunning, kDone, kCached, kFailed };

// One line of the display.
struct BarStep {
  std::string name;
  BarState state = BarState::kPending;
  BarProgress progress;
  double seconds = 0;            // elapsed while running, total when done
  std::uint64_t peak_bytes = 0;  // highest resident memory; 0: not shown
};

struct ProgressBarOptions {
  std::function<void(std::string_view)> write;  // default: to standard error
  bool terminal = false;                        // redraws in place; false: a plain line now and then
  bool color = false;                           // only on a terminal
  bool quiet = false;                           // writes nothing
  int width = 100;              // columns; longer lines are cut so that redrawing stays in place
  std::function<double()> now;  // seconds, steady; default: the steady clock

  // Standard error as it is: a terminal or not, its width, NO_COLOR.
  static ProgressBarOptions standard_error(bool quiet = false);
};

// The steps of a job, drawn as they move. Redraws at most ten times a second; off a terminal it writes a line
// when a step begins, at every 10 % of it (not oftener than every 2 s), and when it ends. One thread at a
// time.
class ProgressBar {
 public:
  explicit ProgressBar(ProgressBarOptions options = ProgressBarOptions::standard_error());
  ~ProgressBar();  // close()
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // The line above the steps, e.g. "job k3f9  smollm2-75pct  vm-a". Off a terminal it is written when it
  // changes.
  void title(std::string text);
  // Names the steps; forgets those that were there. Steps beyond the plan appear when they are first named
  // below.
  void plan(const std::vector<std::string>& names);
  // `elapsed` seconds that the step has run for already (a watch that comes late).
  void start(std::size_t index, std::string_view name = {}, double elapsed = 0);
  void update(std::size_t index, const BarProgress& progress);
  void finish(std::size_t index, BarState state, double seconds, std::uint64_t peak_bytes = 0);
  // A line of its own, above the bars ("worker vm-b lost its lease").
  void note(std::string_view line);
  void tick();   // redraws running times; call it when nothing else has moved for a while
  void close();  // draws the last state and leaves the cursor below it; nothing is drawn after

  const std::vector<BarStep>& steps() const { return steps_; }

 private:
  BarStep& step(std::size_t index);
  void draw(bool force);
  void line(const std::string& text);
  std::string frame();

  ProgressBarOptions options_;
  std::string title_;
  std::vector<BarStep> steps_;
  std::vector<double> started_;     // by options_.now
  std::vector<double> line_share_;  // of the last plain line
  std::vector<double> line_time_;
  double last_draw_ = -1;
  int drawn_lines_ = 0;
  bool closed_ = false;
};

// One step as its line, without colours or line break: "  2 gptq       ---------------->     16/30    0:10
// layer error 0.021". `number` counts from 1; the name is padded to `name_width` columns.
std::string render_step(const BarStep& step, std::size_t number, std::size_t name_width, int bar_width = 30);

}  // namespace wring

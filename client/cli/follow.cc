// Following a job: its stages as bars while it runs, its report when it has ended.
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <utility>

#include "client/cli/context.h"
#include "client/cli/interrupt.h"
#include "client/cli/stage_steps.h"
#include "client/report.h"
#include "common/clock.h"
#include "common/text.h"

namespace wring {
namespace {

double seconds_since(const google::protobuf::Timestamp& time) {
  const auto now = SystemClock().now_ms();
  return static_cast<double>(now - google::protobuf::util::TimeUtil::TimestampToMilliseconds(time)) / 1000;
}

// "job k3f9  smollm2-75pct   vm-a   submitted 0:41 ago"
std::string headline(const v1::Job& job, bool with_time) {
  std::string text = "job " + job.id();
  if (!job.spec().name().empty()) text += "  " + job.spec().name();
  if (job.state() == v1::JOB_STATE_QUEUED)
    text += "   queued" + (job.waiting_reason().empty() ? "" : ": " + job.waiting_reason());
  else if (!job.worker().empty())
    text += "   " + job.worker() + " " +
            (job.spec().resources().device().empty() ? "cpu" : job.spec().resources().device());
  if (job.state() == v1::JOB_STATE_CANCELLING) text += "   cancelling";
  if (job.attempt() > 1) text += "   attempt " + std::to_string(job.attempt());
  if (with_time && job.has_create_time())
    text += "   submitted " + human_duration(seconds_since(job.create_time())) + " ago";
  return text;
}

// The bars of one job, kept like the job.
class JobDisplay {
 public:
  explicit JobDisplay(const ProgressBarOptions& options) : bar_(options), terminal_(options.terminal) {}

  void show(const v1::Job& job) {
    job_ = job;
    bar_.title(headline(job, terminal_));
    if (plan_changed(job)) replan(job);
    for (int i = 0; i < job.stages_size(); ++i) show_stage(static_cast<std::size_t>(i), job.stages(i));
  }
  void progress(const v1::Progress& progress) { bar_.update(progress.stage(), step_progress(progress)); }
  void note(const std::string& line) { bar_.note(line); }
  void tick() {
    if (terminal_) bar_.title(headline(job_, true));
    bar_.tick();
  }
  void close() { bar_.close(); }

 private:
  bool plan_changed(const v1::Job& job) const {
    if (job.attempt() != attempt_ || static_cast<std::size_t>(job.stages_size()) != bar_.steps().size())
      return true;
    for (int i = 0; i < job.stages_size(); ++i)
      if (job.stages(i).name() != bar_.steps()[static_cast<std::size_t>(i)].name) return true;
    return false;
  }
  void replan(const v1::Job& job) {
    attempt_ = job.attempt();
    std::vector<std::string> names;
    for (const auto& stage : job.stages()) names.push_back(stage.name());
    bar_.plan(names);
  }
  void show_stage(std::size_t index, const v1::StageStatus& stage) {
    const auto step = step_of(stage);
    if (step.state == bar_.steps()[index].state) return;
    if (step.state == BarState::kRunning) {
      bar_.start(index, {}, step.seconds);
      if (stage.has_progress()) bar_.update(index, step.progress);
    } else if (step.state != BarState::kPending) {
      bar_.finish(index, step.state, step.seconds, step.peak_bytes);
    }
  }

  ProgressBar bar_;
  bool terminal_;
  std::uint32_t attempt_ = 0;
  v1::Job job_;
};

}  // namespace

v1::Job follow_job(CliContext& context, const v1::Job& first) {
  if (is_terminal(first.state())) return context.client().get(first.id());
  const InterruptScope interrupt;
  JobDisplay display(context.bar_options());
  display.show(first);
  WatchOptions options;
  options.after_event = first.last_event();
  options.on_tick = [&] {
    display.tick();
    return !interrupt.seen();
  };
  bool away = false;
  options.on_break = [&](const Error& error) {
    if (!std::exchange(away, true)) display.note(error.message() + "; waiting for it to come back");
  };
  const auto job = context.client().watch(first.id(), options, [&](const v1::Event& event) {
    if (std::exchange(away, false)) display.note("the server is back");
    if (event.type() == "progress" && event.has_progress()) return display.progress(event.progress());
    try {
      display.show(context.client().get(first.id()));
    } catch (const Error& e) {  // the watch itself judges how long a server may be away
      if (e.code() != ErrorCode::kUnavailable) throw;
    }
  });
  display.show(job);
  display.close();
  if (!is_terminal(job.state()))
    throw Error(ErrorCode::kCancelled, "INTERRUPTED", "no longer watching; job " + job.id() + " goes on", "",
                "wring watch " + job.id() + " comes back to it, wring cancel " + job.id() + " ends it.");
  return job;
}

void print_ended_job(CliContext& context, const v1::Job& job) {
  if (context.json) context.print_json(to_json(job));
  if (job.state() == v1::JOB_STATE_SUCCEEDED) {
    if (!context.json) context.print(job_report(to_json(job)));
    return;
  }
  const auto error = job_error(job);
  std::fputs(describe(error).c_str(), stderr);
  context.status = job_exit_status(error);
}

}  // namespace wring

// Speaking JSON lines with the agent: one thread reads, everyone writes under one lock.
#include "engine/run/pipe.h"

#include <signal.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/logger.h"
#include "common/model_file_name.h"
#include "common/text.h"
#include "engine/run/failure.h"
#include "engine/run/hardware.h"
#include "engine/run/tree_json.h"
#include "recipe/processes.h"

namespace wring {
namespace {

constexpr std::size_t kMaxLine = 16u << 20;

std::atomic<bool> cancelled = false;

// Lines in both directions. The reader thread ends the process when the agent is gone: nobody waits for the
// result then.
class Pipe {
 public:
  Pipe(int in_fd, int out_fd) : in_(in_fd), out_(out_fd) {
    std::thread([this] { read_lines(); }).detach();
  }

  void send(const Json& message) {
    const std::string line = message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    const std::lock_guard lock(write_mutex_);
    write_all(out_, std::as_bytes(std::span(line)), "the pipe to the agent");
  }

  Json receive() {
    std::unique_lock lock(read_mutex_);
    arrived_.wait(lock, [&] { return !messages_.empty(); });
    const Json message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  void read_lines() {
    std::string pending;
    char buffer[1 << 16];
    for (;;) {
      const ssize_t n = ::read(in_, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) ::_exit(exit_status(ErrorCode::kCancelled));
      pending.append(buffer, static_cast<std::size_t>(n));
      for (std::size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1))
        take(pending.substr(0, end));
      if (pending.size() > kMaxLine) ::_exit(exit_status(ErrorCode::kInvalidArgument));
    }
  }

  void take(const std::string& line) {
    Json message;
    try {
      message = parse_json(line, "a line from the agent");
    } catch (const Error& error) {
      std::fputs(describe(error).c_str(), stderr);
      ::_exit(exit_status(ErrorCode::kInvalidArgument));
    }
    const std::lock_guard lock(read_mutex_);
    messages_.push_back(std::move(message));
    arrived_.notify_one();
  }

  int in_, out_;
  std::mutex write_mutex_, read_mutex_;
  std::condition_variable arrived_;
  std::deque<Json> messages_;
};

JobInput read_chunks(const Json& json) {
  const auto manifest = Manifest::parse(read_file(json_at<std::string>(json, "manifest", "input")));
  return {FileTree::from_chunks(manifest, json_at<std::string>(json, "blobs", "input")), manifest.digest(),
          model_file_name(json_or<std::string>(json, "name", "", "input"))};
}

// As start_message() of another engine tells it.
JobInput read_told(const Json& json) {
  return {tree_from_json(json), Digest::parse(json_at<std::string>(json, "digest", "input")),
          model_file_name(json_or<std::string>(json, "name", "", "input"))};
}

Json told(const JobInput& input) {
  Json json = tree_to_json(input.files);
  json["digest"] = input.digest.hex();
  json["name"] = input.name;
  return json;
}

JobInput read_input(const Json& json, const std::string& kind) {
  if (json.contains("digest")) return read_told(json);
  if (json.contains("path")) return input_on_disk(json_at<std::string>(json, "path", "input"), kind);
  return read_chunks(json);
}

// The same, where its digest is of no interest.
FileTree read_files(const Json& json) {
  if (json.contains("path")) return FileTree::on_disk(json_at<std::string>(json, "path", "input"));
  return read_chunks(json).files;
}

class PipeObserver final : public JobObserver {
 public:
  explicit PipeObserver(Pipe& pipe) : pipe_(pipe) {}

  void on_plan(const std::vector<StepPlan>& steps) override {
    Json list = Json::array();
    for (const auto& step : steps) {
      list.push_back({{"index", step.index},
                      {"name", step.name},
                      {"kind", step.kind},
                      {"key", step.key ? step.key->hex() : ""}});
      if (step.forecast) list.back()["forecast"] = step.forecast->to_json();
      if (step.at_hand) list.back()["at_hand"] = true;
    }
    pipe_.send({{"type", "plan"}, {"steps", list}});
  }

  std::optional<FileTree> look_up(const StepPlan& step) override {
    pipe_.send({{"type", "lookup"}, {"index", step.index}, {"key", step.key->hex()}});
    const Json answer = pipe_.receive();
    if (json_at<std::string>(answer, "type", "pipe") != "lookup_result")
      throw Error(ErrorCode::kInternal, "PIPE", "expected lookup_result from the agent");
    if (!json_at<bool>(answer, "hit", "lookup_result")) return std::nullopt;
    return read_files(answer);
  }

  void on_start(const StepPlan& step) override {
    started_ = Stopwatch();
    first_done_.reset();
    log_info(step.name + " begins");
    pipe_.send({{"type", "step_started"}, {"index", step.index}, {"name", step.name}});
  }

  void on_progress(const StepPlan& step, std::uint64_t done, std::uint64_t total, const std::string& unit,
                   const std::string& metric, double value) override {
    if (done < total && done > 0 && last_sent_.seconds() < 0.1) return;
    last_sent_ = Stopwatch();
    if (!first_done_) first_done_ = done;  // more than 0 where the stage goes on after an earlier run
    const double made = static_cast<double>(done - std::min(done, *first_done_));
    if (last_logged_.seconds() >= 1 || done == total) {
      last_logged_ = Stopwatch();
      log_info(step.name + ": " + std::to_string(done) + " of " + std::to_string(total) + " " + unit +
               (metric.empty() ? "" : ", " + metric + " " + figure(value)));
    }
    const double eta = made > 0 ? started_.seconds() / made * static_cast<double>(total - done) : 0;
    pipe_.send({{"type", "progress"},
                {"index", step.index},
                {"done", done},
                {"total", total},
                {"unit", unit},
                {"metric", metric},
                {"value", value},
                {"eta_seconds", eta}});
  }

  void on_done(const StepPlan& step, const StepOutcome& outcome) override {
    log_info(step.name + (outcome.cached ? " comes from the cache"
                                         : " took " + figure(outcome.seconds) + " s, peak " +
                                               human_bytes(outcome.peak_bytes)));
    pipe_.send({{"type", "step_done"},
                {"index", step.index},
                {"name", step.name},
                {"key", step.key ? step.key->hex() : ""},
                {"cached", outcome.cached},
                {"seconds", outcome.seconds},
                {"peak_bytes", outcome.peak_bytes},
                {"report", outcome.report},
                {"path", outcome.path.string()}});
  }

  void on_rows(const std::vector<EvaluationRow>& rows) override {
    Json list = Json::array();
    for (const auto& row : rows) {
      list.push_back(row.to_json());
      if (row.text.empty())
        log_info(row.suite + " " + row.when + ": " + row.metric + " " + figure(row.value) +
                 (row.unit.empty() ? "" : " " + row.unit));
    }
    pipe_.send({{"type", "evaluation"}, {"rows", list}});
  }

  void check_cancelled() override {
    if (cancelled) throw Error(ErrorCode::kCancelled, "CANCELLED", "the job was cancelled");
  }

 private:
  Pipe& pipe_;
  // Four significant digits.
  static std::string figure(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return text;
  }

  Stopwatch started_, last_sent_, last_logged_;
  std::optional<std::uint64_t> first_done_;  // of the step
};

JobSpec read_start(const Json& start) {
  if (json_at<std::string>(start, "type", "pipe") != "start" || json_at<int>(start, "v", "start") != 1)
    throw Error(ErrorCode::kInvalidArgument, "PIPE_VERSION", "the agent speaks another version of the pipe",
                "v", "Install agent and engine of one release.");
  JobSpec spec{.recipe = recipe_from_normal_form(start.at("recipe")),
               .model = read_input(start.at("model"), "model")};
  check_reads_no_file(spec.recipe);
  const Json data = json_or<Json>(start, "data", Json::object());
  for (const auto& [name, input] : data.items()) spec.data.emplace(name, read_input(input, "dataset"));
  if (start.contains("reference")) spec.reference = read_input(start.at("reference"), "model");
  if (start.contains("tokenizer")) spec.tokenizer = tree_from_json(start.at("tokenizer"));
  for (const auto& entry : json_or<std::vector<Json>>(start, "measured", {}, "start"))
    spec.measured.emplace(json_at<std::size_t>(entry, "evaluation", "measured"), tree_from_json(entry));
  spec.seed = json_or<std::uint64_t>(start, "seed", 0);
  spec.processes = checked_processes(json_or<std::uint32_t>(start, "processes", 0), "processes");
  spec.threads = json_or<int>(start, "threads", 0);
  spec.device = json_or<std::string>(start, "device", "cpu");
  spec.out = json_at<std::string>(start, "out", "start");
  spec.work = json_at<std::string>(start, "work", "start");
  spec.durability = Durability::kProcess;  // what is kept is the agent's to sync
  spec.memory_bytes = json_or<std::uint64_t>(start, "memory_bytes", 0);
  spec.share_statistics = true;
  spec.plan_only = json_or<bool>(start, "plan_only", false);
  spec.snapshots = json_or<std::string>(start, "snapshots", "");
  return spec;
}

Json exports_json(const std::vector<ExportedArtifact>& exports) {
  Json list = Json::array();
  for (const auto& exported : exports)
    list.push_back({{"format", exported.format},
                    {"path", exported.path.string()},
                    {"metadata", exported.metadata},
                    {"digest", exported.artifact.hex()}});
  return list;
}

Json hello() {
  return {{"type", "hello"},
          {"v", 1},
          {"version", WRING_VERSION},
          {"devices", list_devices()},
          {"catalogue", Catalogue::embedded().digest().hex()},
          {"torch", TORCH_VERSION}};
}

}  // namespace

Json start_message(const JobSpec& spec) {
  Json start{{"type", "start"},
             {"v", 1},
             {"recipe", spec.recipe.normal_form()},
             {"model", told(spec.model)},
             {"data", Json::object()},
             {"measured", Json::array()},
             {"seed", spec.seed},
             {"processes", spec.processes},
             {"threads", spec.threads},
             {"device", spec.device},
             {"out", spec.out.string()},
             {"work", spec.work.string()},
             {"memory_bytes", spec.memory_bytes}};
  for (const auto& [name, input] : spec.data) start["data"][name] = told(input);
  if (spec.reference) start["reference"] = told(*spec.reference);
  if (spec.tokenizer) start["tokenizer"] = tree_to_json(*spec.tokenizer);
  for (const auto& [evaluation, files] : spec.measured) {
    start["measured"].push_back(tree_to_json(files));
    start["measured"].back()["evaluation"] = evaluation;
  }
  return start;
}

int print_devices() {
  std::puts(hello().dump().c_str());
  return 0;
}

int run_piped_job(int in_fd, int out_fd) {
  ::signal(SIGTERM, [](int) { cancelled = true; });
  Pipe pipe(in_fd, out_fd);
  int failed_step = -1;
  try {
    pipe.send(hello());
    const JobSpec spec = read_start(pipe.receive());
    PipeObserver observer(pipe);
    const JobResult result = run_job(spec, observer, failed_step);
    if (result.export_error) throw *result.export_error;
    pipe.send({{"type", "result"},
               {"path", result.artifact ? spec.out.string() : ""},
               {"kind", result.kind},
               {"metadata", result.metadata},
               {"digest", result.artifact ? result.artifact->hex() : ""},
               {"exports", exports_json(result.exports)}});
    return 0;
  } catch (...) {
    const Error error = current_engine_error();
    std::fputs(describe(error).c_str(), stderr);
    try {
      pipe.send({{"type", "error"}, {"error", error.to_json()}, {"index", failed_step}});
    } catch (const Error&) {  // the agent is gone: the exit status is all that is left to say
    }
    return exit_status(error.code());
  }
}

}  // namespace wring

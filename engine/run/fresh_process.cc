// A child that prints its answer into a file, and one that is spoken to as an agent speaks to its engine.
#include "engine/run/fresh_process.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/subprocess.h"
#include "engine/run/pipe.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

FileDescriptor created(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) throw_io_error("create", path, errno);
  return file;
}

std::string ending(const ExitStatus& status) {
  return status.signal ? "signal " + std::to_string(status.signal) + " (" + ::strsignal(status.signal) + ")"
                       : "status " + std::to_string(status.code);
}

// A child that waits for a job, and is told of it as an agent tells its engine.
class JobProcess {
 public:
  explicit JobProcess(const fs::path& log) {
    auto in = Pipe::create(), out = Pipe::create();
    const FileDescriptor err = created(log);
    SubprocessOptions options;
    options.argv = {"/proc/self/exe", "job"};
    options.own_process_group = false;  // who ends the job's group ends it
    options.descriptors = {
        {err.get(), STDOUT_FILENO}, {err.get(), STDERR_FILENO}, {in.read.get(), 3}, {out.write.get(), 4}};
    child_ = std::make_unique<Subprocess>(options);
    to_ = std::move(in.write);
    from_.reset(::fdopen(out.read.release(), "r"));
    if (!from_) throw_io_error("read", "the pipe from the process that measures", errno);
  }

  // Where it is gone, receive() finds the end.
  void send(const Json& message) {
    const std::string line = message.dump() + "\n";
    try {
      write_all(to_.get(), std::as_bytes(std::span(line)), "the pipe to the process that measures");
    } catch (const Error&) {
    }
  }

  // Null once it has ended.
  Json receive() {
    char* line = nullptr;
    std::size_t size = 0;
    const ssize_t length = ::getline(&line, &size, from_.get());
    const std::unique_ptr<char, decltype(&std::free)> owner(line, &std::free);
    if (length <= 0 || line[length - 1] != '\n') return nullptr;
    return parse_json({line, static_cast<std::size_t>(length)}, "a line from the process that measures");
  }

  ExitStatus wait() { return child_->wait(); }

 private:
  std::unique_ptr<Subprocess> child_;
  FileDescriptor to_;
  std::unique_ptr<std::FILE, decltype(&std::fclose)> from_{nullptr, &std::fclose};
};

// Takes a message that ends nothing.
void take(const Json& message, JobProcess& process, Progress& progress, FreshEvaluations& made) {
  const auto type = json_at<std::string>(message, "type", "pipe");
  if (type == "lookup")
    process.send({{"type", "lookup_result"}, {"index", message.at("index")}, {"hit", false}});
  if (type == "progress")
    progress.report(json_at<std::uint64_t>(message, "done", "progress"),
                    json_at<std::uint64_t>(message, "total", "progress"),
                    json_at<std::string>(message, "unit", "progress"));
  if (type == "step_done")
    made.peak_bytes = std::max(made.peak_bytes, json_at<std::uint64_t>(message, "peak_bytes", "step_done"));
  if (type != "evaluation") return;
  auto& rows = made.rows.emplace_back();
  for (const auto& row : message.at("rows")) rows.push_back(EvaluationRow::from_json(row));
}

}  // namespace

Json run_fresh(const std::vector<std::string>& arguments, const fs::path& folder) {
  const TempDir scratch(folder);
  const fs::path file = scratch.path() / "printed.json", log = scratch.path() / "log";
  SubprocessOptions options;
  options.argv = {"/proc/self/exe"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.argv.push_back("--json");
  const FileDescriptor out = created(file), err = created(log);
  options.descriptors = {{out.get(), STDOUT_FILENO}, {err.get(), STDERR_FILENO}};
  const ExitStatus status = Subprocess(options).wait();
  const std::string text = read_file(file);
  const Json printed = text.empty() ? Json::object() : parse_json(text, arguments.front());
  if (printed.contains("error")) throw Error::from_json(printed.at("error"));
  std::fputs(read_file(log).c_str(), stderr);  // but an error, which is told by who catches it
  if (status.code != 0 || text.empty())
    throw Error(ErrorCode::kInternal, "EXPORT_NOT_VERIFIED",
                "the process that reads the export back ended with " + ending(status), "exports",
                "Nothing was kept; the reason stands in the engine's log.");
  return printed;
}

FreshEvaluations evaluate_fresh(const JobSpec& spec, Progress& progress) {
  const TempDir scratch(spec.work);
  const fs::path work = scratch.path() / "work", log = scratch.path() / "log";
  fs::create_directory(work);
  JobSpec there = spec;
  there.work = work;
  there.out = scratch.path() / "out";
  FreshEvaluations made;
  JobProcess process(log);
  process.send(start_message(there));
  for (Json message = process.receive(); !message.is_null(); message = process.receive()) {
    if (message.at("type") == "error") throw Error::from_json(message.at("error"));
    if (message.at("type") == "result") return made;  // it is ended as it goes out of scope
    take(message, process, progress, made);
  }
  const ExitStatus status = process.wait();
  // Where the job was cancelled, which may have ended the other process first, this says so.
  progress.report(made.rows.size(), spec.recipe.evaluations.size(), "evaluations");
  std::fputs(read_file(log).c_str(), stderr);
  throw Error(ErrorCode::kInternal, "ENGINE_CRASH",
              "the process that measures the export was ended by " + ending(status) + " and gave no reason");
}

}  // namespace wring

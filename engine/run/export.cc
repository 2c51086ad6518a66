// A checked export beside `out`, renamed once it is measured too.
#include "engine/run/export.h"

#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "engine/export/verify.h"
#include "engine/model/load.h"
#include "engine/run/checked_export.h"
#include "engine/run/fresh_process.h"
#include "engine/run/hardware.h"
#include "engine/run/own_score.h"
#include "engine/text/corpus.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// Before anything is written.
void check_text(const fs::path& text) {
  try {
    if (!text.empty()) (void)read_corpus(FileTree::on_disk(text), "test");
  } catch (const Error& error) {
    throw Error(error.code(), error.reason(), error.message(), "--data", error.hint());
  }
}

// What the export in `folder` gives on a text, beside the model that it was made of.
Json measure_on(const ExportCommand& command, const FileTree& source, const FileTree& text,
                const EvaluationSpec& evaluation, const fs::path& folder) {
  JobSpec spec{.recipe = {}, .model = {FileTree::on_disk(folder), {}}};
  spec.recipe.evaluations = {evaluation};
  for (const auto& name : spec.recipe.data_names()) spec.data.emplace(name, JobInput{text, {}});
  spec.reference = JobInput{source, {}};
  spec.tokenizer = source;
  spec.threads = command.threads;
  spec.work = folder.parent_path();
  NoProgress quiet;
  const auto scored = evaluate_fresh(spec, quiet);
  Json rows = Json::array();
  for (const auto& row : scored.rows.at(0)) rows.push_back(row.to_json());
  return rows;
}

// On the text that was given, or else on Wring's own.
void measure(const ExportCommand& command, const Model& model, const FileTree& source, const fs::path& folder,
             Json& report) {
  report["evaluations"] = Json::array();
  if (command.no_score) return;
  if (!command.text.empty()) {
    const char* suite = model.kind() == "decoder-lm" ? "perplexity" : "similarity";
    EvaluationSpec evaluation = parse_recipe(suite).evaluations.front();
    if (evaluation.params.contains("windows"))
      evaluation.params["windows"] = parse_json(command.windows, "windows");
    report["evaluations"] = measure_on(command, source, FileTree::on_disk(command.text), evaluation, folder);
    return;
  }
  const TempDir scratch(folder.parent_path());
  const OwnScore own = own_score(model, scratch.path());
  try {
    report["evaluations"] = measure_on(command, source, own.text, own.evaluation, folder);
  } catch (const Error& error) {
    report["not_scored"] = hindrance(error);
  }
  for (auto& row : report["evaluations"]) row["details"]["data"] = kOwnText;
}

// Ends the process by Ctrl-C and SIGTERM, with the status of what was cancelled and without what is half
// done. Made before any other thread; exporters are not asked to stop. What its thread has begun to remove
// nobody else goes on with.
class Interruption {
 public:
  Interruption() {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&signals, number);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([signals, half = half_] {
      int number = 0;
      ::sigwait(&signals, &number);
      const std::lock_guard lock(half->mutex);
      std::error_code failed;
      for (int turn = 0; turn < kTurns && !half->folder.empty(); ++turn)  // files are still made there
        if (fs::remove_all(half->folder, failed); !failed) break;
      ::_exit(exit_status(ErrorCode::kCancelled));
    }).detach();
  }

  ~Interruption() { const std::lock_guard lock(half_->mutex); }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  void removes(const fs::path& folder) {
    const std::lock_guard lock(half_->mutex);
    half_->folder = folder;
  }

  void rename(const fs::path& from, const fs::path& to) {
    const std::lock_guard lock(half_->mutex);
    fs::rename(from, to);
  }

 private:
  static constexpr int kTurns = 100;
  struct Half {
    std::mutex mutex;
    fs::path folder;
  };
  std::shared_ptr<Half> half_ = std::make_shared<Half>();
};

// "perplexity  22.13456 +- 0.91234"
std::string describe_row(const Json& row) {
  const std::string text =
      row.at("metric").get<std::string>() + "  " + format_number(row.at("value").get<double>(), 6);
  const Json& error = row.at("stderr");
  return error.is_number() ? text + " +- " + format_number(error.get<double>(), 6) : text;
}

std::string names_of(const Json& report, const char* member, const std::string& what) {
  if (!report.contains(member)) return "";
  return what + join(report.at(member).get<std::vector<std::string>>(), ", ") + "\n";
}

void print_report(const Json& report) {
  std::cout << report.at("format").get<std::string>() << "  " << report.at("path").get<std::string>() << "\n"
            << "read back by a fresh process: " << report.at("weights") << " weights and "
            << report.at("tensors") << " other tensors hold what was meant, to the bit\n"
            << (report.contains("graph_distance")
                    ? "its graph, run beside the model, is " +
                          format_number(100 * report.at("graph_distance").get<double>(), 5) + " % off\n"
                    : "")
            << (report.contains("not_scored")
                    ? "not scored: " + report.at("not_scored").get<std::string>() + "\n"
                    : "")
            << names_of(report, "left_out", "not in the file, as its readers have no place for it: ")
            << names_of(report, "not_read", "in the model's files, and no part that is known of it: ")
            << human_bytes(report.at("file_bytes").get<std::uint64_t>()) << " of weight files, "
            << format_number(report.at("bits_per_weight").get<double>(), 3) << " bits a weight on disk\n";
  for (const auto& row : report.at("evaluations")) std::cout << describe_row(row) << "\n";
}

}  // namespace

int export_model(const ExportCommand& command) {
  Interruption interruption;
  set_threads(command.threads);
  const ExportSpec spec = parse_export(command.to);
  if (fs::exists(command.out))
    throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", command.out.string() + " is there already", "out",
                "Name a folder that does not exist yet.");
  const fs::path out = without_slash(fs::absolute(command.out));
  check_text(command.text);
  const FileTree source = FileTree::on_disk(command.model);
  const auto model = load_model(source);
  check_export(spec, *model, source, "to");

  fs::create_directories(out.parent_path());
  const TempDir half(out.parent_path());
  interruption.removes(half.path());
  const fs::path folder = half.path() / out.filename();
  Json report = write_checked_export(
      {*model, source, spec, "to", name_of_model(command.model), folder, command.claims});
  measure(command, *model, source, folder, report);
  report["path"] = out.string();
  interruption.rename(folder, out);
  if (command.json)
    std::cout << report.dump(2) << "\n";
  else
    print_report(report);
  return 0;
}

int verify_local(const VerifyCommand& command) {
  set_threads(command.threads);
  const KeptHeap heap;
  std::cout << verify_export(command.path, parse_json(read_file(command.claims), "claims")).dump() << "\n";
  return 0;
}

}  // namespace wring

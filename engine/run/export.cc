// The exporter's word is not taken: another process reads the files back and measures them.
#include "engine/run/export.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "common/error.h"
#include "common/files.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "engine/export/exporter.h"
#include "engine/export/verify.h"
#include "engine/model/load.h"
#include "engine/run/hardware.h"
#include "recipe/recipe.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// Runs this program again; returns the JSON that it printed. Its errors go where ours go.
Json run_fresh(const std::vector<std::string>& arguments, const fs::path& scratch) {
  const fs::path file = scratch / "printed.json";
  SubprocessOptions options;
  options.argv = {fs::read_symlink("/proc/self/exe").string()};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  FileDescriptor out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out) throw_io_error("create", file, errno);
  options.descriptors = {{out.get(), STDOUT_FILENO}, {STDERR_FILENO, STDERR_FILENO}};
  const ExitStatus status = Subprocess(options).wait();
  if (status.code != 0)
    throw Error(
        ErrorCode::kDataLoss, "EXPORT_NOT_VERIFIED",
        "the check of the export ended with " + (status.signal ? "signal " + std::to_string(status.signal)
                                                               : "status " + std::to_string(status.code)),
        "out", "Nothing was kept; the reason stands above.");
  return parse_json(read_file(file), arguments.front());
}

// Perplexity, KL divergence and agreement of the export beside the model that it was made of.
Json measure(const ExportCommand& command, const fs::path& folder, const fs::path& scratch) {
  if (command.text.empty()) return Json::array();
  const Json measured =
      run_fresh({"eval", folder.string(), "--suite", "perplexity", "--data", command.text.string(),
                 "--windows", command.windows, "--reference", command.model.string(), "--threads",
                 std::to_string(command.threads), "--json", "--quiet"},
                scratch);
  return measured.at("evaluations");
}

void print_report(const Json& report) {
  std::cout << report.at("format").get<std::string>() << "  " << report.at("path").get<std::string>() << "\n"
            << "read back by a fresh process: " << report.at("weights") << " weights and "
            << report.at("tensors") << " other tensors hold what was meant, to the bit\n"
            << human_bytes(report.at("file_bytes").get<std::uint64_t>()) << " of weight files, "
            << format_number(report.at("bits_per_weight").get<double>(), 3) << " bits a weight on disk\n";
  for (const auto& row : report.at("evaluations"))
    std::cout << row.at("metric").get<std::string>() << "  "
              << format_number(row.at("value").get<double>(), 6) << "\n";
}

}  // namespace

int export_model(const ExportCommand& command) {
  set_threads(command.threads);
  const ExportSpec spec = parse_export(command.to);
  if (fs::exists(command.out))
    throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", command.out.string() + " is there already", "out",
                "Name a folder that does not exist yet.");
  const fs::path out = without_slash(fs::absolute(command.out));
  fs::create_directories(out.parent_path());
  const TempDir half(out.parent_path()), scratch(fs::temp_directory_path());
  const fs::path folder = half.path() / out.filename();
  fs::create_directory(folder);

  const FileTree source = FileTree::on_disk(command.model);
  const auto model = load_model(source);
  const auto& takes = Catalogue::embedded().format(spec.format, "to").takes;
  if (std::find(takes.begin(), takes.end(), model->kind()) == takes.end())
    throw Error(ErrorCode::kInvalidArgument, "WRONG_MODEL_KIND",
                spec.format + " takes no models of the kind " + std::string(model->kind()), "to",
                "It takes: " + join(takes, ", ") + ".");
  Claims claims;
  const Params params(spec.params, "to.params");
  find_exporter(spec.format)({*model, source, params, folder}, claims);
  const fs::path claimed = scratch.path() / "claims.json";
  write_file_atomic(claimed, claims.to_json().dump());

  Json report = run_fresh({"verify", folder.string(), "--claims", claimed.string()}, scratch.path());
  report["evaluations"] = measure(command, folder, scratch.path());
  report["format"] = spec.format;
  report["params"] = spec.params;
  report["path"] = out.string();
  if (!command.claims.empty()) write_file_atomic(command.claims, claims.to_json().dump(2) + "\n");
  fs::rename(folder, out);
  if (command.json)
    std::cout << report.dump(2) << "\n";
  else
    print_report(report);
  return 0;
}

int verify_local(const VerifyCommand& command) {
  std::cout << verify_export(command.path, parse_json(read_file(command.claims), "claims")).dump() << "\n";
  return 0;
}

}  // namespace wring

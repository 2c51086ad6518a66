// The verb export: a model, from here or from the store, in the formats of other tools.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "client/cli/programs.h"
#include "client/cli/transfers.h"
#include "common/error.h"
#include "common/files.h"
#include "common/model_file_name.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/recipe.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

struct ExportFlags {
  std::string artifact, out, data;
  std::vector<std::string> to;
  std::uint64_t size = 0;
  std::uint32_t threads = 0, windows = 8;
};

// "wring" and 75000000: "wring(size=75000000)".
std::string with_size(const std::string& to, std::uint64_t size) {
  if (size == 0) return to;
  const std::string parameter = "size=" + std::to_string(size);
  return to.ends_with(')') ? to.substr(0, to.size() - 1) + ", " + parameter + ")"
                           : to + "(" + parameter + ")";
}

// One export by wring-engine, whose errors are its own to print. Nothing where it failed.
std::optional<Json> export_to(CliContext& context, const ExportFlags& flags, const fs::path& model,
                              const std::string& to, const fs::path& out) {
  std::vector<std::string> arguments{program("wring-engine").string(),
                                     "export",
                                     model.string(),
                                     "--to",
                                     to,
                                     "--out",
                                     out.string(),
                                     "--threads",
                                     std::to_string(flags.threads),
                                     "--json"};
  if (!flags.data.empty())
    arguments.insert(arguments.end(), {"--data", flags.data, "--windows", std::to_string(flags.windows)});
  const auto [ended, output] = capture(arguments);
  context.status = ended.signal ? 1 : ended.code;
  if (context.status != 0) return std::nullopt;
  return parse_json(output, "the engine's result");
}

std::string describe_export(const Json& report) {
  std::vector<std::vector<std::string>> rows{
      {"format", report.at("format").get<std::string>()},
      {"in", report.at("path").get<std::string>()},
      {"checked", "a fresh process read back " + report.at("weights").dump() + " weights and " +
                      report.at("tensors").dump() + " other tensors: all as meant, to the bit"},
      {"size", human_bytes(report.at("file_bytes").get<std::uint64_t>()) + ", " +
                   format_number(report.at("bits_per_weight").get<double>(), 3) + " bits a weight"}};
  if (report.contains("graph_distance"))
    rows.push_back({"graph", "run beside the model, " +
                                 format_number(100 * report.at("graph_distance").get<double>(), 5) +
                                 " % off"});
  for (const auto& [member, what] : {std::pair{"left_out", "left out: its readers have no place for it"},
                                     std::pair{"not_read", "not read: no part that is known of a model"}})
    if (report.contains(member))
      rows.push_back({what, join(report.at(member).get<std::vector<std::string>>(), ", ")});
  for (const auto& row : report.at("evaluations")) {
    const Json& error = row.at("stderr");
    rows.push_back({row.at("metric").get<std::string>(),
                    format_number(row.at("value").get<double>(), 5) +
                        (error.is_number() ? " +- " + format_number(error.get<double>(), 5) : "")});
  }
  return table(rows);
}

void export_artifact(CliContext& context, const ExportFlags& flags) {
  std::vector<std::string> exports;
  for (const auto& to : flags.to) exports.push_back(with_size(to, flags.size));
  for (const auto& to : exports) (void)parse_export(to);  // all of them, before the first is written
  const fs::path out = without_slash(fs::absolute(flags.out));
  fs::path model = flags.artifact;
  std::optional<TempDir> fetched;
  if (!fs::exists(model)) {
    fetched.emplace(fs::temp_directory_path());
    model = fetched->path() / "model";
    TransferBar bar(context, "download " + flags.artifact);
    const auto artifact =
        context.client().download_artifact(artifact_of(context, flags.artifact), model, bar.sink());
    const auto named = fetched->path() / model_file_name(artifact.name());  // as the exports are to be
    if (named != model) fs::rename(model, named);
    model = named;
  }
  Json reports = Json::array();
  std::map<std::string, int> seen;
  for (const auto& to : exports) {
    const auto format = parse_export(to).format;
    const int number = ++seen[format];
    const fs::path folder = out / (number == 1 ? format : format + "-" + std::to_string(number));
    const auto report = export_to(context, flags, model, to, exports.size() == 1 ? out : folder);
    if (!report) break;  // what was written before stays, and is told of
    reports.push_back(*report);
    if (!context.json) context.print(describe_export(*report));
  }
  if (context.json) context.print_json(Json{{"exports", reports}});
}

}  // namespace

void add_export_verbs(CLI::App& app, CliContext& context) {
  const auto flags = std::make_shared<ExportFlags>();
  auto* verb = add_verb(
      app, "export", "Write a model in another tool's format; what was written is read back and compared",
      "wring export small/ --to compressed-tensors --to 'gguf(type=Q4_K_M)' --out exports/ --data test.txt");
  verb->add_option("ARTIFACT", flags->artifact, "Folder or file; or a job or artifact of the service")
      ->required();
  verb->add_option("--to", flags->to,
                   "FORMAT or 'FORMAT(PARAMETER=VALUE)'; once for each (wring methods lists them)")
      ->required()
      ->allow_extra_args(false);
  verb->add_option("--out", flags->out, "Folder for the result; with several formats, of their folders")
      ->required();
  verb->add_option("--size", flags->size,
                   "Of --to wring, a model in levels: the most that its weights may take (75MB)")
      ->transform(bytes_value());
  verb->add_option("--data", flags->data, "Text on which perplexity and KL beside the model are measured");
  verb->add_option("--windows", flags->windows, "Windows of 1024 tokens of it")->capture_default_str();
  verb->add_option("--threads", flags->threads, "Threads; 0: all");
  verb->callback([&context, flags] { export_artifact(context, *flags); });
}

}  // namespace wring

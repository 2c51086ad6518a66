// The verb export: a model in the formats of other tools. One that lies here is exported here, one of the
// store by a job, whose report the server keeps.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "client/cli/figures.h"
#include "client/cli/programs.h"
#include "client/cli/transfers.h"
#include "client/report.h"
#include "common/error.h"
#include "common/files.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "recipe/recipe.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

struct ExportFlags {
  std::string artifact, out, data;
  std::vector<std::string> to;
  std::uint64_t size = 0;
  std::uint32_t threads = 0, windows = 8;
  bool no_score = false;
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
  std::vector<std::string> arguments{"export", model.string(), "--to",      to,
                                     "--out",  out.string(),   "--threads", std::to_string(flags.threads),
                                     "--json"};
  if (!flags.data.empty())
    arguments.insert(arguments.end(), {"--data", flags.data, "--windows", std::to_string(flags.windows)});
  if (flags.no_score) arguments.push_back("--no-score");
  const auto [ended, output] = capture_engine(arguments);
  context.status = ended.code;
  if (ended.code != 0) return std::nullopt;
  return parse_json(output, "the engine's result");
}

Figure figure_of(const Json& row, const char* value, const char* error) {
  const Json spread = json_or<Json>(row, error, Json());
  return {row.at(value).get<double>(),
          spread.is_number() ? std::optional(spread.get<double>()) : std::nullopt};
}

// On which text, and with whose arithmetic, where that is not what was asked for; or why not.
std::string how_scored(const Json& report) {
  if (report.contains("not_scored")) return "no: " + report.at("not_scored").get<std::string>();
  for (const auto& row : report.at("evaluations"))
    if (const auto how = how_measured(json_or<Json>(row, "details", Json::object())); !how.empty())
      return how;
  return "";
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
  if (report.contains("tensor_types")) rows.push_back({"tensors", type_counts(report.at("tensor_types"))});
  if (report.contains("artifact"))
    rows.push_back({"kept as", "artifact " + report.at("artifact").get<std::string>().substr(0, 12) +
                                   " of job " + report.at("job").get<std::string>()});
  if (const auto how = how_scored(report); !how.empty()) rows.push_back({"scored", how});
  for (const auto& row : report.at("evaluations")) {
    std::string figure = format_figure(figure_of(row, "value", "stderr"), "");
    if (json_or<Json>(row, "change_stderr", Json()).is_number()) {
      Figure change = figure_of(row, "value", "change_stderr");
      change.value -= row.at("baseline_value").get<double>();
      figure += std::string("   ") + (change.value < 0 ? "" : "+") + format_figure(change, "") +
                " beside the input";
    }
    rows.push_back({row.at("metric").get<std::string>(), figure});
  }
  return table(rows);
}

// Where each export goes: `out` itself, or with several of them a folder of it. Throws where one is there.
std::vector<fs::path> folders_of(const ExportFlags& flags) {
  const fs::path out = without_slash(fs::absolute(flags.out));
  std::vector<fs::path> folders;
  std::map<std::string, int> seen;
  for (const auto& to : flags.to) {
    const auto format = parse_export(to).format;
    const int number = ++seen[format];
    folders.push_back(
        flags.to.size() == 1 ? out : out / (number == 1 ? format : format + "-" + std::to_string(number)));
    if (fs::exists(folders.back()))
      throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", folders.back().string() + " is there already",
                  "--out", "Name a folder that does not exist yet.");
  }
  return folders;
}

Json export_here(CliContext& context, const ExportFlags& flags, const std::vector<fs::path>& folders) {
  Json reports = Json::array();
  int failed = 0;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    const auto report = export_to(context, flags, flags.artifact, flags.to[i], folders[i]);
    if (!report) {  // wring-engine has said why; the others are made
      failed = context.status;
      if (failed == exit_status(ErrorCode::kCancelled)) break;
      continue;
    }
    reports.push_back(*report);
    if (!context.json) context.print(describe_export(*report));
  }
  context.status = failed;
  return reports;
}

v1::JobSpec export_job(CliContext& context, const ExportFlags& flags, const v1::Artifact& model,
                       const char* suite) {
  Json evaluations = Json::array();
  if (!flags.data.empty()) evaluations.push_back({{"suite", suite}});
  if (!flags.data.empty() && std::string_view(suite) == "perplexity")
    evaluations[0]["params"] = {{"windows", flags.windows}};
  v1::JobSpec spec;
  spec.set_recipe(Json{{"exports", flags.to}, {"evaluations", evaluations}}.dump());
  spec.set_name(shortened(model.name().empty() ? model.digest().substr(0, 12) : model.name(), 180));
  spec.set_model(model.digest());
  spec.mutable_resources()->set_device("cpu");
  spec.mutable_resources()->set_threads(flags.threads);
  const auto validated = context.client().validate(spec.recipe());
  for (const auto& name : validated.data_names())
    (*spec.mutable_data())[name] = input_digest(context, flags.data, "dataset");
  return spec;
}

// Scored as a decoder or, which a worker alone can tell of a model that was uploaded, as an encoder.
v1::Job exported_job(CliContext& context, const ExportFlags& flags) {
  const auto model = context.client().artifact(artifact_of(context, flags.artifact));
  const auto ended = [&](const char* suite) {
    return follow_job(context,
                      context.client().submit(export_job(context, flags, model, suite), random_uuid()));
  };
  const Json metadata = Manifest::parse(model.manifest_json()).metadata;
  if (json_or<std::string>(metadata, "kind", "") == "encoder") return ended("similarity");
  auto job = ended("perplexity");
  if (flags.data.empty() || job.error().reason() != "WRONG_MODEL_KIND" ||
      job.error().field().find("evaluations") == std::string::npos)
    return job;
  context.client().remove(job.id());
  return ended("similarity");
}

// What the job says of its exports, in their order, as wring-engine says it of its own.
Json reports_of(const Json& job) {
  Json reports = Json::array();
  for (const auto& row : job.at("evaluations")) {
    if (row.at("suite") != "export") continue;
    Json report = row.at("details");
    report["job"] = job.at("id");
    report["artifact"] = row.at("artifact");
    report["evaluations"] = Json::array();
    for (const auto& other : job.at("evaluations"))
      if (other.at("when") == row.at("when") && other.at("suite") != "export")
        report["evaluations"].push_back(other);
    reports.push_back(std::move(report));
  }
  return reports;
}

// Nothing where the job has not succeeded, which is told of.
std::optional<Json> export_in_a_job(CliContext& context, const ExportFlags& flags,
                                    const std::vector<fs::path>& folders) {
  const auto job = exported_job(context, flags);
  if (job.state() != v1::JOB_STATE_SUCCEEDED) {
    print_ended_job(context, job);
    return std::nullopt;
  }
  Json reports = reports_of(to_json(job));
  for (std::size_t i = 0; i < std::min(reports.size(), folders.size()); ++i) {
    TransferBar bar(context, "download " + folders[i].filename().string());
    context.client().download_artifact(reports[i].at("artifact"), folders[i], bar.sink());
    reports[i]["path"] = folders[i].string();
    if (!context.json) context.print(describe_export(reports[i]));
  }
  return reports;
}

// Of what is neither here nor may be in the store: a path that was mistyped.
void check_place(const std::string& artifact) {
  const bool name = artifact.find_first_of("/.") == std::string::npos;
  if (fs::exists(artifact) || name) return;
  throw Error(ErrorCode::kNotFound, "NO_SUCH_FILE", "there is no file or folder " + artifact, "ARTIFACT",
              "Name a model that lies here, or a job or an artifact of the service.");
}

void export_artifact(CliContext& context, ExportFlags flags) {
  check_place(flags.artifact);
  for (auto& to : flags.to) to = with_size(to, flags.size);
  for (const auto& to : flags.to) (void)parse_export(to);  // all of them, before the first is written
  (void)parse_recipe(Json{{"exports", flags.to}}.dump());  // refuses one that is given twice
  const auto folders = folders_of(flags);
  const auto reports = fs::exists(flags.artifact) ? std::optional(export_here(context, flags, folders))
                                                  : export_in_a_job(context, flags, folders);
  if (context.json && reports) context.print_json(Json{{"exports", *reports}});
}

}  // namespace

void add_export_verbs(CLI::App& app, CliContext& context) {
  const auto flags = std::make_shared<ExportFlags>();
  auto* verb = add_verb(
      app, "export", "Write a model in another tool's format; what was written is read back and compared",
      "wring export small/ --to compressed-tensors --to 'gguf(type=Q4_K_M)' --out exports/ --data test.txt");
  verb->add_option("ARTIFACT", flags->artifact,
                   "Folder or file; or a job or an artifact of the service, which a worker then exports")
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
  verb->add_option(
      "--data", flags->data,
      "Text on which it is scored beside the model (perplexity, KL divergence, top-1 agreement; an "
      "encoder's similarity); without it a short one of Wring's own");
  verb->add_flag("--no-score", flags->no_score, "Of a model that lies here: score it on no text");
  verb->add_option("--windows", flags->windows, "Windows of 1024 tokens of it")->capture_default_str();
  verb->add_option("--threads", flags->threads, "Threads; 0: all");
  verb->callback([&context, flags] { export_artifact(context, *flags); });
}

}  // namespace wring

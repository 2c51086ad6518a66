// The verbs about measurements: eval, evals, compare.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "client/cli/csv.h"
#include "client/cli/submit.h"
#include "client/cli/transfers.h"
#include "client/report.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/recipe.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

struct EvalFlags {
  std::string model, suite = "perplexity", data, reference;
  std::vector<std::string> parameters;  // NAME=VALUE
  std::string window, windows, stride;
  std::uint64_t seed = 0;
  std::uint32_t threads = 0;
  bool local = false;
};

std::vector<std::string> parameters_of(const EvalFlags& flags) {
  auto parameters = flags.parameters;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) parameters.push_back(std::string(name) + "=" + value);
  };
  add("window", flags.window);
  add("windows", flags.windows);
  add("stride", flags.stride);
  return parameters;
}

void evaluate(CliContext& context, const EvalFlags& flags) {
  if (flags.local) {
    auto arguments = arguments_after(context, "eval", {"--local"});
    arguments.insert(arguments.begin(), "eval");
    exec_engine(arguments);
  }
  if (!flags.reference.empty())
    throw Error(ErrorCode::kInvalidArgument, "NOT_LOCAL", "a reference is compared with on this machine only",
                "--reference", "Add --local.");
  v1::JobSpec spec;
  spec.set_recipe(evaluation_recipe(flags.suite, parameters_of(flags)));
  const auto recipe = parse_recipe(spec.recipe());
  spec.set_name(("evaluate " + flags.suite + " of " + std::filesystem::path(flags.model).filename().string())
                    .substr(0, 200));
  spec.set_seed(flags.seed);
  spec.mutable_resources()->set_threads(flags.threads);
  for (const auto& name : recipe.data_names()) {
    if (flags.data.empty())
      throw Error(ErrorCode::kInvalidArgument, "MISSING_DATA", flags.suite + " needs a text", "--data",
                  "--data PATH or a digest");
    (*spec.mutable_data())[name] = input_digest(context, flags.data, "dataset");
  }
  spec.set_model(input_digest(context, flags.model, "model"));
  submit_and_report(context, spec, "", true);
}

struct QueryFlags {
  std::string job, artifact, suite, metric;
  int limit = 1000;
  bool csv = false;
};

std::vector<v1::Evaluation> query(CliContext& context, const QueryFlags& flags) {
  v1::QueryEvaluationsRequest request;
  if (!flags.job.empty()) request.set_job_id(context.client().get(flags.job).id());  // a prefix will do
  if (!flags.artifact.empty()) request.set_artifact(context.client().artifact(flags.artifact).digest());
  request.set_suite(flags.suite);
  request.set_metric(flags.metric);
  std::vector<v1::Evaluation> rows;
  do {
    request.set_page_size(std::min(1000, flags.limit - static_cast<int>(rows.size())));
    const auto page = context.client().evaluations(request);
    rows.insert(rows.end(), page.evaluations().begin(), page.evaluations().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(rows.size()) < flags.limit);
  if (!request.page_token().empty())
    std::fprintf(stderr, "the oldest %zu rows; there are more: --limit, or --job, --suite, --metric\n",
                 rows.size());
  return rows;
}

void print_evaluations(CliContext& context, const QueryFlags& flags) {
  const auto rows = query(context, flags);
  if (context.json) {
    Json list = Json::array();
    for (const auto& row : rows) list.push_back(to_json(row));
    return context.print_json(Json{{"evaluations", list}});
  }
  if (flags.csv) {
    static const std::vector<const char*> kColumns{
        "job",    "artifact",       "suite",         "metric", "value",    "unit", "n",
        "stderr", "baseline_value", "change_stderr", "seed",   "hardware", "when", "text"};
    std::string text = csv_line({kColumns.begin(), kColumns.end()});
    for (const auto& row : rows) {
      const auto json = to_json(row);
      std::vector<Json> fields;
      for (const auto* column : kColumns) fields.push_back(json[column]);
      text += csv_line(fields);
    }
    return context.print(text);
  }
  if (rows.empty()) return context.print("no evaluations\n");
  std::vector<std::vector<std::string>> cells{
      {"JOB", "ARTIFACT", "SUITE", "METRIC", "VALUE", "WHEN", "HARDWARE"}};
  for (const auto& row : rows) {
    const Figure figure{row.value(), row.has_stderr() ? std::optional<double>(row.stderr()) : std::nullopt};
    cells.push_back({row.job_id(), row.artifact().substr(0, 12), row.suite(), row.metric(),
                     row.text().empty() ? format_figure(figure, row.unit()) : "(text)", row.when(),
                     row.hardware()});
  }
  context.print(table(cells));
}

void compare(CliContext& context, const std::string& a, const std::string& b) {
  const auto left = to_json(context.client().get(a)), right = to_json(context.client().get(b));
  if (context.json)
    return context.print_json(
        Json{{"a", left["id"]}, {"b", right["id"]}, {"metrics", comparison_json(left, right)}});
  context.print(comparison(left, right));
}

}  // namespace

void add_evaluation_verbs(CLI::App& app, CliContext& context) {
  auto* eval = add_engine_verb(
      app, context, "eval", "Measure a model: here (--local) or as a job",
      "wring eval compressed/ --local --suite perplexity --data test.txt --window 1024 --windows 32");
  const auto flags = std::make_shared<EvalFlags>();
  eval->add_option("PATH", flags->model, "Folder, file, or (as a job) digest of an artifact")->required();
  eval->add_flag("--local", flags->local,
                 "In this process's place, by wring-engine; other flags are passed on to it");
  eval->add_option("--suite", flags->suite, "Suite, see wring methods")->capture_default_str();
  eval->add_option("--data", flags->data, "Text to measure on: file, folder, or (as a job) digest");
  eval->add_option("--reference", flags->reference,
                   "With --local: a dense model; adds KL divergence and agreement to it");
  eval->add_option("--window", flags->window, "perplexity: tokens of a window");
  eval->add_option("--windows", flags->windows, "perplexity: how many; 0: the whole text");
  eval->add_option("--stride", flags->stride, "perplexity: step between windows; 0: the window");
  eval->add_option("--param", flags->parameters, "NAME=VALUE of the suite, see wring methods show SUITE")
      ->allow_extra_args(false);
  eval->add_option("--seed", flags->seed, "Seed")->check(whole_number());
  eval->add_option("--threads", flags->threads, "Threads; 0: all");
  eval->add_option("--server", context.flags.server, "Server of the job");
  eval->add_option("--token", context.flags.token, "Access token");
  eval->add_option("--ca", context.flags.ca, "PEM file of the server's CA");
  eval->callback([&context, flags, eval] {
    if (const auto extras = eval->remaining(); !flags->local && !extras.empty())
      throw CLI::ExtrasError("eval", extras);
    evaluate(context, *flags);
  });

  auto* evals = add_verb(app, "evals", "Query measured rows across jobs",
                         "wring evals --suite perplexity --metric perplexity --csv");
  const auto filter = std::make_shared<QueryFlags>();
  evals->add_option("--job", filter->job, "Only of this job");
  evals->add_option("--artifact", filter->artifact, "Only of this artifact");
  evals->add_option("--suite", filter->suite, "Only of this suite");
  evals->add_option("--metric", filter->metric, "Only this metric");
  evals->add_option("--limit", filter->limit, "How many rows")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  evals->add_flag("--csv", filter->csv, "Comma-separated values");
  evals->callback([&context, filter] { print_evaluations(context, *filter); });

  auto* both = add_verb(app, "compare", "Metrics of two jobs side by side", "wring compare k3f9 m2p7");
  const auto a = std::make_shared<std::string>(), b = std::make_shared<std::string>();
  both->add_option("A", *a, "Id of a job")->required();
  both->add_option("B", *b, "Id of another")->required();
  both->callback([&context, a, b] { compare(context, *a, *b); });
}

}  // namespace wring

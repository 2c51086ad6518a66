// The verbs about what can be run and by whom: methods, validate, workers.
#include <cstdio>
#include <memory>

#include "client/cli/context.h"
#include "common/text.h"
#include "recipe/recipe.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

std::string default_text(const Json& value) {
  if (value.is_null()) return "required";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string range_text(const ParameterSpec& p) {
  if (!p.choices.empty()) {
    std::vector<std::string> names;
    for (const auto& choice : p.choices) names.push_back(default_text(choice));
    return join(names, ", ");
  }
  if (!p.minimum && !p.maximum) return "";
  const auto number = [](const std::optional<double>& v) {
    char text[32] = "";
    if (v) std::snprintf(text, sizeof text, "%.10g", *v);
    return std::string(text);
  };
  return number(p.minimum) + ".." + number(p.maximum);
}

std::string papers_text(const MethodSpec& spec) {
  std::string text;
  for (const auto& paper : spec.papers) {
    text += "  " + json_or<std::string>(paper, "title", "") + ", " + json_or<std::string>(paper, "venue", "");
    const auto arxiv = json_or<std::string>(paper, "arxiv", "");
    text += (arxiv.empty() ? "" : ", arXiv:" + arxiv) + "\n";
  }
  return text;
}

std::string describe_method(const MethodSpec& spec) {
  std::string text = spec.name + " (" + spec.kind + ", version " + std::to_string(spec.version) + ")\n" +
                     spec.summary + "\n";
  text += papers_text(spec) + "\n";
  std::vector<std::vector<std::string>> facts{{"takes", join(spec.takes, ", ")}};
  if (!spec.needs.empty()) facts.push_back({"needs", join(spec.needs, ", ")});
  if (!spec.produces.empty()) facts.push_back({"produces", spec.produces});
  facts.push_back({"determinism", spec.determinism});
  if (!spec.metrics.empty()) {
    std::vector<std::string> names;
    for (const auto& [metric, better] : spec.metrics) names.push_back(metric);
    facts.push_back({"reports", join(names, ", ")});
  }
  text += table(facts);
  if (spec.parameters.empty()) return text;
  std::vector<std::vector<std::string>> rows{{"PARAMETER", "TYPE", "DEFAULT", "ALLOWED", ""}};
  for (const auto& p : spec.parameters)
    rows.push_back({p.name, p.type + (p.unit.empty() ? "" : ", " + p.unit), default_text(p.default_value),
                    range_text(p), p.help});
  return text + "\n" + table(rows);
}

void list_methods(CliContext& context) {
  const auto& catalogue = Catalogue::embedded();
  if (context.json) {
    Json methods = Json::array(), suites = Json::array(), formats = Json::array();
    for (const auto* spec : catalogue.methods()) methods.push_back(spec->to_json());
    for (const auto* spec : catalogue.suites()) suites.push_back(spec->to_json());
    for (const auto* spec : catalogue.formats()) formats.push_back(spec->to_json());
    return context.print_json(Json{{"methods", methods},
                                   {"suites", suites},
                                   {"formats", formats},
                                   {"catalogue_digest", catalogue.digest().hex()}});
  }
  std::vector<std::vector<std::string>> rows{{"METHOD", "KIND", "TAKES", ""}};
  for (const auto& specs : {catalogue.methods(), catalogue.suites(), catalogue.formats()})
    for (const auto* spec : specs)
      rows.push_back({spec->name, spec->kind, join(spec->takes, ", "), spec->summary});
  context.print(table(rows));
}

void show_method(CliContext& context, const std::string& name) {
  const auto& catalogue = Catalogue::embedded();
  const auto& spec = catalogue.any(name, "");
  context.json ? context.print_json(spec.to_json()) : context.print(describe_method(spec));
}

void validate(CliContext& context, const std::string& recipe_or_file) {
  const auto recipe = parse_recipe(read_recipe(recipe_or_file));
  const Json json{{"normal_form", recipe.normal_form()},
                  {"recipe_digest", recipe.digest().hex()},
                  {"data", recipe.data_names()}};
  if (context.json) return context.print_json(json);
  context.print(recipe.normal_form().dump(2) + "\nrecipe digest  " + recipe.digest().hex() +
                "\nneeds data     " +
                (recipe.data_names().empty() ? "none" : join(recipe.data_names(), ", ")) + "\n");
}

void list_workers(CliContext& context) {
  const auto workers = context.client().workers();
  if (context.json) {
    Json list = Json::array();
    for (const auto& worker : workers) list.push_back(to_json(worker));
    return context.print_json(Json{{"workers", list}});
  }
  if (workers.empty())
    return context.print("no workers\n  wring-worker --server " + context.client().server() +
                         " --cache DIR starts one.\n");
  std::vector<std::vector<std::string>> rows{
      {"WORKER", "NAME", "CLASS", "DEVICES", "MEMORY", "JOBS", "LAST SEEN", ""}};
  for (const auto& worker : workers) {
    std::vector<std::string> devices, memory, jobs(worker.jobs().begin(), worker.jobs().end());
    for (const auto& d : worker.devices()) {
      devices.push_back(d.kind() + ":" + std::to_string(d.index()) +
                        (d.threads() ? " (" + std::to_string(d.threads()) + " threads)" : ""));
      memory.push_back(human_bytes(d.memory_bytes()));
    }
    const auto seen = to_json(worker)["last_seen"];
    const std::vector<std::string> classes(worker.classes().begin(), worker.classes().end());
    rows.push_back({worker.id(), worker.name(), join(classes, ", "), join(devices, ", "), join(memory, ", "),
                    join(jobs, ", "), seen.is_string() ? seen.get<std::string>().substr(0, 19) : "",
                    worker.draining() ? "draining"
                    : worker.paused() ? "paused"
                                      : ""});
  }
  context.print(table(rows));
}

}  // namespace

void add_catalogue_verbs(CLI::App& app, CliContext& context) {
  auto* methods =
      add_verb(app, "methods", "List methods and evaluation suites, or show one (needs no server)",
               "wring methods show gptq");
  const auto words = std::make_shared<std::vector<std::string>>();
  methods->add_option("NAME", *words, "Method or suite ('show' may stand before it)")->expected(0, 2);
  methods->callback(
      [&context, words] { words->empty() ? list_methods(context) : show_method(context, words->back()); });

  auto* check =
      add_verb(app, "validate", "Check a recipe and print its normal form and digest (needs no server)",
               "wring validate 'wanda(pattern=2:4) | gptq(bits=4, group_size=64)'");
  const auto recipe = std::make_shared<std::string>();
  check->add_option("RECIPE", *recipe, "YAML file, or a recipe in one line")->required();
  check->callback([&context, recipe] { validate(context, *recipe); });

  add_verb(app, "workers", "List the workers that the server knows", "wring workers")->callback([&context] {
    list_workers(context);
  });
}

}  // namespace wring

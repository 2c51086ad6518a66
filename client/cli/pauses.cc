// The verbs pause and resume, of a job, a project or a worker; and the list of projects.
#include <memory>

#include "client/cli/context.h"
#include "common/text.h"

namespace wring {
namespace {

void print_changed(CliContext& context, const std::string& what, const std::string& name, bool paused,
                   const Json& json) {
  if (context.json) return context.print_json(json);
  context.print(what + " " + name + "  " + (paused ? "paused" : "not paused") + "\n");
}

void change(CliContext& context, const std::string& kind, const std::string& name, bool pauses) {
  Client& client = context.client();
  if (kind == "job") {
    const auto job = pauses ? client.pause_job(name) : client.resume_job(name);
    return print_changed(context, kind, job.id(), job.paused(), to_json(job));
  }
  if (kind == "project") {
    const auto project = pauses ? client.pause_project(name) : client.resume_project(name);
    return print_changed(context, kind, project.name(), project.paused(), to_json(project));
  }
  const auto worker = pauses ? client.pause_worker(name) : client.resume_worker(name);
  print_changed(context, kind, worker.id(), worker.paused(), to_json(worker));
}

void add_change(CLI::App& app, CliContext& context, const char* verb, const char* help, bool pauses) {
  auto* added = add_verb(app, verb, help, std::string("wring ") + verb + " project vision");
  struct Flags {
    std::string kind, name;
  };
  const auto flags = std::make_shared<Flags>();
  added->add_option("KIND", flags->kind, "job, project or worker")
      ->required()
      ->check(CLI::IsMember({"job", "project", "worker"}));
  added->add_option("NAME", flags->name, "Id of a job, name of a project, id or name of a worker")
      ->required();
  added->callback([&context, flags, pauses] { change(context, flags->kind, flags->name, pauses); });
}

void list_projects(CliContext& context) {
  const auto projects = context.client().projects();
  if (context.json) {
    Json list = Json::array();
    for (const auto& project : projects) list.push_back(to_json(project));
    return context.print_json(Json{{"projects", list}});
  }
  if (projects.empty()) return context.print("no project has a job that has not ended\n");
  std::vector<std::vector<std::string>> rows{{"PROJECT", "QUEUED", "RUNNING", ""}};
  for (const auto& project : projects)
    rows.push_back({project.name(), std::to_string(project.queued()), std::to_string(project.running()),
                    project.paused() ? "paused" : ""});
  context.print(table(rows));
}

}  // namespace

void add_pause_verbs(CLI::App& app, CliContext& context) {
  add_change(app, context, "pause",
             "Keep a job, a project's jobs or a worker from being leased; a job that runs is put back", true);
  add_change(app, context, "resume", "End a pause", false);
  add_verb(app, "projects", "List the projects that have jobs which have not ended, or are paused",
           "wring projects")
      ->callback([&context] { list_projects(context); });
}

}  // namespace wring

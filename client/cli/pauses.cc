// The verbs pause and resume, of a job, a project or a worker; projects and their quotas.
#include <memory>

#include "client/cli/context.h"
#include "common/quantity.h"
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

// "3" or "3 of 100".
std::string of_limit(const std::string& value, std::uint64_t limit, const std::string& limit_text) {
  return limit == 0 ? value : value + " of " + limit_text;
}

std::vector<std::string> project_row(const v1::Project& project) {
  const v1::Quota& quota = project.quota();
  return {project.name(),
          of_limit(std::to_string(project.queued()), quota.queued(), std::to_string(quota.queued())),
          of_limit(std::to_string(project.running()), quota.running(), std::to_string(quota.running())),
          of_limit(human_bytes(project.bytes()), quota.bytes(), human_bytes(quota.bytes())),
          project.paused() ? "paused" : ""};
}

void list_projects(CliContext& context) {
  const auto projects = context.client().projects();
  if (context.json) {
    Json list = Json::array();
    for (const auto& project : projects) list.push_back(to_json(project));
    return context.print_json(Json{{"projects", list}});
  }
  if (projects.empty()) return context.print("no project has a job that has not ended, a pause or a quota\n");
  std::vector<std::vector<std::string>> rows{{"PROJECT", "QUEUED", "RUNNING", "BYTES", ""}};
  for (const auto& project : projects) rows.push_back(project_row(project));
  context.print(table(rows));
}

struct QuotaFlags {
  std::string name;
  std::uint64_t queued = 0, running = 0, bytes = 0;
};

void set_quota(CliContext& context, const QuotaFlags& flags) {
  v1::SetQuotaRequest request;
  request.set_name(flags.name);
  request.mutable_quota()->set_queued(flags.queued);
  request.mutable_quota()->set_running(flags.running);
  request.mutable_quota()->set_bytes(flags.bytes);
  const auto project = context.client().set_quota(request);
  if (context.json) return context.print_json(to_json(project));
  context.print(table({{"PROJECT", "QUEUED", "RUNNING", "BYTES", ""}, project_row(project)}));
}

void add_quota(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "quota", "Limit what a project may have; what is not given has no limit",
                        "wring quota vision --queued 100 --running 4 --bytes 200GB");
  const auto flags = std::make_shared<QuotaFlags>();
  verb->add_option("PROJECT", flags->name, "Name of the project")->required();
  verb->add_option("--queued", flags->queued, "Jobs that wait for a worker");
  verb->add_option("--running", flags->running, "Jobs that workers have at once");
  verb->add_option("--bytes", flags->bytes, "Of its blobs, e.g. 200GB")->transform(bytes_value());
  verb->callback([&context, flags] { set_quota(context, *flags); });
}

}  // namespace

void add_pause_verbs(CLI::App& app, CliContext& context) {
  add_change(app, context, "pause",
             "Keep a job, a project's jobs or a worker from being leased; a job that runs is put back", true);
  add_change(app, context, "resume", "End a pause", false);
  add_quota(app, context);
  add_verb(app, "projects",
           "List the projects that have jobs which have not ended, are paused or have a quota",
           "wring projects")
      ->callback([&context] { list_projects(context); });
}

}  // namespace wring

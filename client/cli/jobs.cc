// The verbs about jobs that exist: jobs, job, watch, report, cancel, retry, delete.
#include <memory>

#include "client/cli/context.h"
#include "client/cli/stage_steps.h"
#include "client/report.h"
#include "common/text.h"

namespace wring {
namespace {

std::string age(const v1::Job& job) {
  const auto text = to_json(job)["create_time"];
  return text.is_string() ? text.get<std::string>().substr(0, 19) : "";
}

int stages_done(const v1::Job& job) {
  int n = 0;
  for (const auto& stage : job.stages()) n += stage.state() == "done" || stage.state() == "cached";
  return n;
}

void print_jobs(CliContext& context, const std::vector<v1::Job>& jobs) {
  if (context.json) {
    Json list = Json::array();
    for (const auto& job : jobs) {
      list.push_back(to_json(job));
      list.back().erase("evaluations");  // a list has none: wring job, wring evals
    }
    return context.print_json(Json{{"jobs", list}});
  }
  if (jobs.empty()) return context.print("no jobs\n");
  std::vector<std::vector<std::string>> rows{
      {"JOB", "PROJECT", "NAME", "STATE", "STAGES", "WORKER", "SUBMITTED", "RESULT"}};
  for (const auto& job : jobs) {
    const auto stages = job.stages_size() == 0
                            ? ""
                            : std::to_string(stages_done(job)) + "/" + std::to_string(job.stages_size());
    rows.push_back({job.id(), job.spec().project(), job.spec().name(), state_name(job.state()), stages,
                    job.worker(), age(job),
                    job.state() == v1::JOB_STATE_QUEUED ? job.waiting_reason() : job.result().substr(0, 12)});
  }
  context.print(table(rows));
}

// A whole one may be of a model that was deleted.
std::string whole_digest(CliContext& context, const std::string& digest_or_prefix) {
  return digest_or_prefix.size() == 64 ? digest_or_prefix
                                       : context.client().artifact(digest_or_prefix).digest();
}

struct ListFlags {
  std::vector<std::string> states;
  std::string name, project, model, sweep;
  int limit = 20;
  bool all = false, no_trials = false;
};

void list_jobs(CliContext& context, const ListFlags& flags) {
  v1::ListJobsRequest request;
  for (const auto& state : flags.states) request.add_states(state_from_name(state));
  request.set_name_contains(flags.name);
  request.set_project(flags.project);
  request.set_sweep(flags.sweep);
  request.set_no_trials(flags.no_trials);
  if (!flags.model.empty()) request.set_model(whole_digest(context, flags.model));
  std::vector<v1::Job> jobs;
  do {
    const auto left = flags.limit - static_cast<int>(jobs.size());
    request.set_page_size(flags.all ? 1000 : std::min(left, 1000));
    const auto page = context.client().list(request);
    jobs.insert(jobs.end(), page.jobs().begin(), page.jobs().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && (flags.all || static_cast<int>(jobs.size()) < flags.limit));
  print_jobs(context, jobs);
}

std::string describe_job(const v1::Job& job) {
  std::vector<std::vector<std::string>> rows{{"job", job.id()},
                                             {"project", job.spec().project()},
                                             {"name", job.spec().name()},
                                             {"state", state_name(job.state())}};
  const auto add = [&](const char* label, const std::string& value) {
    if (!value.empty()) rows.push_back({label, value});
  };
  add("waiting", job.state() == v1::JOB_STATE_QUEUED ? job.waiting_reason() : "");
  add("worker", job.worker());
  add("attempt", job.attempt() > 0 ? std::to_string(job.attempt()) : "");
  add("submitted", age(job));
  add("model", job.spec().model());
  for (const auto& [name, digest] : job.spec().data()) add("data", name + "=" + digest);
  const auto add_time = [&](const char* label, double seconds) {
    add(label, seconds > 0 ? human_duration(seconds) : "");
  };
  add_time("max runtime", job.spec().max_runtime_seconds());
  add_time("queued timeout", job.spec().queued_timeout_seconds());
  add_time("total timeout", job.spec().total_timeout_seconds());
  add("results", job.spec().retention().pinned() ? "pinned" : "");
  add_time("results expire after", job.spec().retention().expire_after_seconds());
  add("seed", std::to_string(job.spec().seed()));
  add("recipe digest", job.recipe_digest());
  add("result", job.result());
  return table(rows);
}

std::string stage_bars(const v1::Job& job) {
  std::string text;
  std::size_t number = 0;
  for (const auto& stage : job.stages()) text += render_step(step_of(stage), ++number, 20) + "\n";
  return text;
}

void show_job(CliContext& context, const std::string& id) {
  const auto job = context.client().get(id);
  if (context.json) return context.print_json(to_json(job));
  context.print(describe_job(job) + stage_bars(job));
  if (job.state() == v1::JOB_STATE_SUCCEEDED) context.print("\n" + job_report(to_json(job)));
  if (job.state() == v1::JOB_STATE_FAILED) context.print(describe(job_error(job)));
}

void report_job(CliContext& context, const std::string& id) {
  const auto job = context.client().get(id);
  if (context.json) return context.print_json(to_json(job));
  context.print(job_report(to_json(job)));
}

void change_job(CliContext& context, const v1::Job& job) {
  if (context.json) return context.print_json(to_json(job));
  context.print("job " + job.id() + "  " + state_name(job.state()) + "\n");
}

// A verb that takes one job.
template <typename Action>
void add_one_job_verb(CLI::App& app, const std::string& name, const std::string& help, Action action) {
  auto* verb = add_verb(app, name, help, "wring " + name + " k3f9");
  const auto id = std::make_shared<std::string>();
  verb->add_option("JOB", *id, "Id of the job, or a prefix of at least 3 characters that is unique")
      ->required();
  verb->callback([id, action] { action(*id); });
}

}  // namespace

void add_job_verbs(CLI::App& app, CliContext& context) {
  auto* jobs = add_verb(app, "jobs", "List jobs, newest first", "wring jobs --state running --limit 5");
  const auto flags = std::make_shared<ListFlags>();
  jobs->add_option("--state", flags->states,
                   "Only these: queued, running, cancelling, succeeded, failed, cancelled")
      ->delimiter(',')
      ->allow_extra_args(false);
  jobs->add_option("--name", flags->name, "Only jobs whose name holds this");
  jobs->add_option("--project", flags->project, "Only jobs of this project");
  jobs->add_option("--model", flags->model,
                   "Only jobs that were given this model: its digest, or a unique prefix of it");
  auto* const sweep = jobs->add_option("--sweep", flags->sweep,
                                       "Only trials of this sweep: its id, or a unique prefix of it");
  jobs->add_flag("--no-trials", flags->no_trials, "Only jobs that are no sweep's trials")->excludes(sweep);
  jobs->add_option("--limit", flags->limit, "How many")->check(CLI::Range(1, 1000000))->capture_default_str();
  jobs->add_flag("--all", flags->all, "All of them");
  jobs->callback([&context, flags] { list_jobs(context, *flags); });

  add_one_job_verb(app, "job", "Show one job: state, stages, error, result",
                   [&](const std::string& id) { show_job(context, id); });
  add_one_job_verb(app, "watch", "Follow a job with a live bar until it ends, then print its report",
                   [&](const std::string& id) {
                     print_ended_job(context, follow_job(context, context.client().get(id)));
                   });
  add_one_job_verb(app, "report", "Print what a job achieved: quality, size, speed, before and after",
                   [&](const std::string& id) { report_job(context, id); });
  add_one_job_verb(app, "cancel", "End a queued or running job",
                   [&](const std::string& id) { change_job(context, context.client().cancel(id)); });
  add_one_job_verb(app, "retry", "Put a failed or cancelled job back in the queue; finished stages are kept",
                   [&](const std::string& id) { change_job(context, context.client().retry(id)); });
  add_one_job_verb(app, "delete", "Remove an ended job and its events; its artifacts stay",
                   [&](const std::string& id) {
                     context.client().remove(id);
                     if (context.json) return context.print_json(Json{{"deleted", id}});
                     context.print("job " + id + "  deleted\n");
                   });
}

}  // namespace wring

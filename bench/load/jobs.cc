// Load of jobs: submits, workers, lists.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>

#include "bench/load/load.h"
#include "bench/load/measure.h"
#include "common/error.h"
#include "common/ids.h"

namespace wring {
namespace {

constexpr int kRepeatOneIn = 100;  // submits that are sent twice

void expect(bool holds, const std::string& what) {
  if (!holds) throw Error(ErrorCode::kInternal, "LOAD", what);
}

// Ids that must each come once.
class Once {
 public:
  void add(const std::string& id) {
    const std::lock_guard lock(mutex_);
    expect(ids_.insert(id).second, "job " + id + " came twice");
  }

 private:
  std::mutex mutex_;
  std::set<std::string> ids_;
};

v1::RegisterWorkerRequest worker(const std::string& id, const std::vector<std::string>& methods) {
  v1::RegisterWorkerRequest request;
  auto& worker = *request.mutable_worker();
  worker.set_id(id);
  worker.set_name(id);
  auto& device = *worker.add_devices();
  device.set_kind("cpu");
  device.set_memory_bytes(64ull << 30);
  for (const auto& method : methods) worker.add_methods(method);
  return request;
}

// What an agent tells of a job between its lease and its end.
void run_job(Connection& to, const std::string& id, const v1::LeaseJobResponse& lease, double seconds,
             Latencies& latencies) {
  v1::ReportStageRequest stage;
  stage.set_job_id(lease.job().id());
  *stage.mutable_fence() = lease.fence();
  stage.mutable_stage()->set_name("gptq");
  stage.mutable_stage()->set_state("running");
  timed_call(&v1::Workers::Stub::ReportStage, *to.workers, stage, to.token, latencies["report stage"]);
  v1::HeartbeatRequest beat;
  beat.set_worker_id(id);
  auto& status = *beat.add_leases();
  status.set_job_id(lease.job().id());
  *status.mutable_fence() = lease.fence();
  const auto answer =
      timed_call(&v1::Workers::Stub::Heartbeat, *to.workers, beat, to.token, latencies["heartbeat"]);
  expect(answer.answers_size() == 1 && answer.answers(0).action() == "continue", "a lease was lost");
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stage.mutable_stage()->set_state("done");
  timed_call(&v1::Workers::Stub::ReportStage, *to.workers, stage, to.token, latencies["report stage"]);
  v1::FinishAttemptRequest finish;
  finish.set_job_id(lease.job().id());
  *finish.mutable_fence() = lease.fence();
  finish.set_outcome("succeeded");
  timed_call(&v1::Workers::Stub::FinishAttempt, *to.workers, finish, to.token, latencies["finish"]);
}

}  // namespace

std::size_t load_submits(const Target& target, const v1::JobSpec& spec, long count) {
  std::atomic<long> next = 0;
  Once once;
  const Stopwatch watch;
  return run_clients(target, [&](int, Connection& to, Latencies& latencies) {
    auto& seconds = latencies["submit"];
    for (long i; (i = next++) < count || (count == 0 && watch.seconds() < target.seconds);) {
      v1::SubmitJobRequest request;
      request.set_request_id(random_uuid());
      *request.mutable_spec() = spec;
      request.mutable_spec()->set_name("load " + std::to_string(i));
      const auto job = timed_call(&v1::Jobs::Stub::SubmitJob, *to.jobs, request, to.token, seconds);
      once.add(job.id());
      if (i % kRepeatOneIn != 0) continue;
      std::vector<double> repeated;
      const auto again = timed_call(&v1::Jobs::Stub::SubmitJob, *to.jobs, request, to.token, repeated);
      expect(again.id() == job.id(), "a repeated request made another job");
    }
  })["submit"];
}

std::size_t load_workers(const Target& target, const std::vector<std::string>& methods, double job_seconds) {
  Once once;
  const Stopwatch watch;
  return run_clients(target, [&](int number, Connection& to, Latencies& latencies) {
    const auto id = "load-" + std::to_string(number);
    std::vector<double> unmeasured;
    timed_call(&v1::Workers::Stub::RegisterWorker, *to.workers, worker(id, methods), to.token, unmeasured);
    std::this_thread::sleep_for(std::chrono::duration<double>(job_seconds * number / target.clients));
    v1::LeaseJobRequest poll;
    poll.set_worker_id(id);
    poll.add_free_devices()->set_kind("cpu");
    while (watch.seconds() < target.seconds) {
      const auto lease =
          timed_call(&v1::Workers::Stub::LeaseJob, *to.workers, poll, to.token, latencies["lease"]);
      if (!lease.leased()) break;
      once.add(lease.job().id());
      run_job(to, id, lease, job_seconds, latencies);
    }
  })["finish"];
}

void load_lists(const Target& target, const std::vector<ListCase>& cases, int pages_deep) {
  Connection to(target);
  for (const auto& [name, query] : cases) {
    v1::ListJobsRequest request = query;
    std::vector<double> walked, first, deep;
    const int calls = 100;
    std::size_t found = 0;
    for (int i = 0; i < calls; ++i)
      found = static_cast<std::size_t>(
          timed_call(&v1::Jobs::Stub::ListJobs, *to.jobs, request, to.token, first).jobs_size());
    print_latencies(name + " (" + std::to_string(found) + ")", first);
    request.set_page_size(1000);
    int page = 0;
    for (; page < pages_deep; ++page) {
      auto token =
          timed_call(&v1::Jobs::Stub::ListJobs, *to.jobs, request, to.token, walked).next_page_token();
      if (token.empty()) break;
      request.set_page_token(token);
    }
    if (page == 0) continue;
    request.set_page_size(0);
    for (int i = 0; i < calls; ++i) timed_call(&v1::Jobs::Stub::ListJobs, *to.jobs, request, to.token, deep);
    print_latencies("  behind " + std::to_string(page) + ",000", deep);
    print_latencies("  pages of 1,000", walked);
  }
}

}  // namespace wring

// The coordinator: feeds requests to the scheduler, stores what comes of it, and wakes whoever waits.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "server/api/attempt_metrics.h"
#include "server/api/read_recipes.h"
#include "server/http/metrics.h"
#include "server/scheduler/demand.h"
#include "server/scheduler/ledger.h"
#include "server/store/job_store.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/projects.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

// What a batch system's pool of workers is to the queue.
struct PoolDemand {
  std::size_t waiting = 0;              // jobs that no other worker is free for
  std::map<std::string, bool> workers;  // that are connected, by Slurm job; true: it has a job
  std::set<std::string> served;         // Slurm jobs of those that have had a job, however short
};

// What a job asks of its worker, of its attempts and of their time. Throws kInvalidArgument with the field
// ("spec.resources.processes").
void check_job_settings(const wring::v1::JobSpec& spec);

// Any thread may call. Every mutation returns after it is on disk; reads see what is on disk. Calls take jobs
// by id or by a unique prefix, among those of the project within which the caller is; they throw Error with
// the codes of proto/wring/v1.
class Coordinator {
 public:
  // Takes up where the store left off: queued jobs are queued, leases hold for one more lease time.
  Coordinator(JobStore& store, const Clock& clock, Metrics& metrics, SchedulerOptions options);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // `trial`: the sweep's trial that the job is, stored with it.
  wring::v1::Job submit(const Within& project, const wring::v1::SubmitJobRequest& request,
                        std::optional<NewTrial> trial = {});
  // Throws where the recipe takes no model of that kind.
  void check_model(const Within& project, const std::string& digest, const Recipe& recipe);
  wring::v1::Job job(const Within& project, const std::string& id_or_prefix);
  wring::v1::ListJobsResponse list(const Within& project, const wring::v1::ListJobsRequest& request);
  wring::v1::Job cancel(const Within& project, const std::string& id_or_prefix, const std::string& etag);
  wring::v1::Job retry(const Within& project, const std::string& id_or_prefix, const std::string& etag);
  wring::v1::Job pause(const Within& project, const std::string& id_or_prefix, const std::string& etag,
                       bool paused);
  void remove(const Within& project, const std::string& id_or_prefix, const std::string& etag);

  // Events after `after`, then live ones until the job has ended; ends early where `sink` returns false.
  // Waits in slices: `sink` with nullptr asks whether the listener is still there. Throws kUnavailable
  // "SHUTTING_DOWN".
  void watch(const Within& project, const std::string& id_or_prefix, std::uint64_t after,
             const std::function<bool(const wring::v1::Event*)>& sink);
  std::vector<wring::v1::Event> events(const Within& project, const std::string& id_or_prefix,
                                       std::uint64_t after, int limit);

  wring::v1::Project pause_project(const Within& project, const std::string& name, bool paused);
  wring::v1::Project set_quota(const wring::v1::SetQuotaRequest& request);
  wring::v1::Worker pause_worker(const std::string& id_or_name, bool paused);
  wring::v1::ListProjectsResponse list(const Within& project,
                                       const wring::v1::ListProjectsRequest& request);  // by name

  // `caller` is who calls: an id of Caller. Throws kPermissionDenied "WORKER_NOT_YOURS" where `is_valid` says
  // of another who registered the worker that it may still call.
  void register_worker(const wring::v1::Worker& worker, const std::string& caller,
                       const std::function<bool(const std::string& other)>& is_valid);
  // Throws WORKER_NOT_YOURS where another caller registered the worker.
  void check_worker(const std::string& caller, const std::string& worker);
  // The project of a job that a worker of this caller has, or had in the last hour. Throws kPermissionDenied
  // "NO_JOB", "WORKER_NOT_YOURS".
  std::string project_for(const std::string& caller, const std::string& job);
  // Waits for a job that fits as long as the request says, and no longer than `gone` is false.
  wring::v1::LeaseJobResponse lease(const wring::v1::LeaseJobRequest& request,
                                    const std::function<bool()>& gone);
  wring::v1::HeartbeatResponse heartbeat(const wring::v1::HeartbeatRequest& request);
  // Rises with what is told of jobs besides what is stored.
  std::uint64_t progress_heard() const { return progress_heard_; }
  // Of the job whose newest lease, running or over, has this fence. Throws STALE_LEASE.
  std::string project_of(const std::string& job, const wring::v1::Fence& fence);
  void report_stage(const wring::v1::ReportStageRequest& request);
  // Workers of the job's project may have what its stage with this key has made.
  void stage_shared(const std::string& job, const std::string& key);
  void finish(const wring::v1::FinishAttemptRequest& request);
  // By id; with the jobs of the project alone.
  wring::v1::ListWorkersResponse list(const Within& project, const wring::v1::ListWorkersRequest& request);

  // A pool starts workers like this one as jobs ask for them.
  void expect_workers(WorkerRecord like);
  // Of all workers that are known, whether they are connected or not, and of those that are expected.
  std::set<std::string> worker_classes();
  // For the workers that are expected; they say which Slurm job they run in.
  PoolDemand pool_demand();
  TimeMs start_time() const { return start_time_; }
  wring::v1::StageSources stage_sources() const;

  // What a queued job says of the pool that waits for a worker of its kind; empty: nothing.
  void describe_pool(std::string text);

  // `hear` is called with the id of each job whose end is on disk from now on; it returns at once, and calls
  // nothing here. Empty: no longer.
  void on_end(std::function<void(const std::string& job)> hear);

  void stop();  // wakes every waiter: leases return empty-handed, watches with SHUTTING_DOWN

 private:
  // Of an open job; never stored.
  struct Live {
    std::map<std::uint32_t, wring::v1::Progress> progress;  // newest of each stage
    std::uint64_t version = 0;
  };

  // A worker's wait for a job.
  class Poll {
   public:
    Poll(Coordinator& at, std::string worker);
    ~Poll();
    Poll(const Poll&) = delete;
    Poll& operator=(const Poll&) = delete;
    bool is_newest() const;

   private:
    Coordinator& at_;
    std::string worker_;
    std::uint64_t number_ = 0;
  };

  // Steps, stores the outcome and `batch` in one transaction, waits for the disk, wakes waiters. Where the
  // step changes nothing, nothing is stored. `job`, where given, is loaded and its etag checked before.
  Outcome apply(const SchedulerInput& input, StoreBatch batch = {}, const std::string& job = {},
                const std::string& etag = {});
  LedgerEntry step_locked(const SchedulerInput& input, const std::string& job, const std::string& etag);
  void publish(const Outcome& outcome);
  void count_end(const wring::v1::StageStatus& stage);
  std::optional<JobRecord> load(const std::string& id);    // as it is on disk
  std::optional<JobRecord> newest(const std::string& id);  // of an open job: what is being written
  void tick();

  std::string resolve_to_change(const std::string& id_or_prefix, const Within& project);
  std::optional<wring::v1::Job> job_of_request(const std::string& request_id, const std::string& digest);
  std::vector<std::string> kinds_of_model(const Within& project, const std::string& digest);
  void check_inputs(const Within& project, const wring::v1::JobSpec& spec,
                    const std::vector<std::string>& data_names);
  void check_bytes(const std::string& project);
  using Stages = std::vector<wring::v1::StageStatus>;
  wring::v1::Job message(const StoredJob& job, bool whole);
  wring::v1::Job message(const StoredJob& job, Stages stages, bool whole);
  // With the lock held. A worker that registered, and is not on disk yet, is none.
  std::optional<wring::v1::Worker> worker_message(const Within& project, const WorkerRecord& record) const;
  wring::v1::Project project_message(const std::string& name);
  std::string resolve_worker(const std::string& id_or_name);
  wring::v1::LeaseJobResponse lease_message(const JobRecord& record);

  JobStore& store_;
  const Clock& clock_;
  const TimeMs start_time_ = clock_.now_ms();
  Metrics& metrics_;
  std::mutex mutex_;
  std::condition_variable work_;                // something may be leased
  std::map<std::string, std::uint64_t> polls_;  // the newest of each worker that waits
  std::uint64_t newest_poll_ = 0;
  std::condition_variable news_;       // something happened to a job
  std::condition_variable submitted_;  // a submit under a request id is over
  std::condition_variable stop_;       // of the ticker, which every step would wake otherwise
  Ledger ledger_;
  AttemptMetrics attempts_;
  std::map<std::string, Live> live_;
  std::atomic<std::uint64_t> progress_heard_ = 0;
  std::atomic<std::uint64_t> made_ = 0, from_worker_ = 0, from_project_ = 0, skipped_ = 0;  // stages
  std::map<std::string, wring::v1::Worker> workers_;
  std::function<void(const std::string&)> hear_end_;
  WorkerRecord expected_;  // no methods: none are expected
  std::string pool_;
  NeighbouringIds ids_;  // of jobs
  std::mutex kinds_mutex_;
  std::map<std::string, std::vector<std::string>> kinds_;  // of models, by digest: manifests may be long
  ReadRecipes recipes_;
  bool stopping_ = false;
  std::thread ticker_;
};

}  // namespace wring

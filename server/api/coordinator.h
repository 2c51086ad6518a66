// The coordinator: feeds requests to the scheduler, stores what comes of it, and wakes whoever waits.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "server/http/metrics.h"
#include "server/scheduler/scheduler.h"
#include "server/store/sqlite/job_store.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {

// Any thread may call. Every mutation returns after it is on disk; reads see what is on disk.
class Coordinator {
 public:
  Coordinator(JobStore& store, const Clock& clock, Metrics& metrics, SchedulerOptions options);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  wring::v1::Job submit(const wring::v1::SubmitJobRequest& request);
  wring::v1::Job job(const std::string& id_or_prefix, bool whole = true);
  wring::v1::ListJobsResponse list(const wring::v1::ListJobsRequest& request);
  wring::v1::Job cancel(const std::string& id, const std::string& etag);
  wring::v1::Job retry(const std::string& id, const std::string& etag);
  void remove(const std::string& id, const std::string& etag);

  // Events after `after`, then live ones until the terminal one; ends early where `sink` returns false. Waits
  // in slices, so `sink` with nullptr asks whether the listener is still there.
  void watch(const std::string& id_or_prefix, std::uint64_t after,
             const std::function<bool(const wring::v1::Event*)>& sink);
  std::vector<wring::v1::Event> events(const std::string& id_or_prefix, std::uint64_t after, int limit);

  void register_worker(const wring::v1::Worker& worker);
  wring::v1::LeaseJobResponse lease(const wring::v1::LeaseJobRequest& request,
                                    const std::function<bool()>& gone);
  wring::v1::HeartbeatResponse heartbeat(const wring::v1::HeartbeatRequest& request);
  void report_stage(const wring::v1::ReportStageRequest& request);
  void finish(const wring::v1::FinishAttemptRequest& request);
  std::vector<wring::v1::Worker> workers();

  const SchedulerOptions& options() const { return state_.options; }
  void stop();  // wakes every waiter; they return empty-handed

 private:
  // Steps, enqueues the write, releases the lock, waits for the disk, wakes waiters.
  Outcome apply(const SchedulerInput& input, StoreBatch batch = {});
  Outcome apply_locked(std::unique_lock<std::mutex>& lock, const SchedulerInput& input, StoreBatch batch);
  void ensure_loaded(const std::string& id);  // an ended job back into the state
  wring::v1::Job message(const StoredJob& job, bool whole);
  void check_etag(const std::string& id, const std::string& etag);
  void check_inputs(const wring::v1::JobSpec& spec, const std::vector<std::string>& data_names);
  void drop_ended(const Outcome& outcome);
  void tick();

  JobStore& store_;
  const Clock& clock_;
  Metrics& metrics_;
  std::mutex mutex_;
  std::condition_variable changed_;
  SchedulerState state_;
  std::map<std::string, wring::v1::Worker> worker_messages_;
  std::map<std::string, std::vector<wring::v1::Progress>> progress_;  // live, of running jobs
  std::map<std::string, std::uint64_t> progress_version_;
  bool stopping_ = false;
  std::thread ticker_;
};

}  // namespace wring

// A life of a data folder in a few calls, each of which says what is promised from then on.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "server/api/coordinator.h"
#include "server/blobs/blob_store.h"
#include "server/store/job_store.h"
#include "server/sweeps/sweeps.h"

namespace wring::crash {

// What was acknowledged.
struct Promises {
  std::set<std::string> artifacts, pinned;                       // digests
  std::map<std::string, std::string> jobs;                       // request id -> job
  std::map<std::string, std::pair<JobPhase, std::string>> ends;  // job -> its end and result
  std::uint64_t fence = 0;                                       // n of the newest lease
  std::string sweep;                                             // id
  bool sweep_ended = false;                                      // with all of its trials
  std::set<std::string> in_backup, in_restored;                  // artifacts that these folders hold
};

inline constexpr std::uint64_t kTrials = 3;  // of the sweep

// The coordinator of `root`/data, without its network. Comes up as wring-server does.
class Session {
 public:
  explicit Session(const std::filesystem::path& root);

  // Carries out the whole scenario; what was done of it before is left as it is. `acknowledged` is called
  // after each answer, with all that is promised by then.
  void run(Promises& promises, const std::function<void()>& acknowledged);

  JobStore& store() { return store_; }
  BlobStore& blobs() { return blobs_; }
  // Hands the next job that waits to the worker; returns its lease, leased or not.
  v1::LeaseJobResponse lease();

 private:
  std::string put(const std::string& name, const std::vector<std::string>& chunks);
  void submit(const std::string& request);
  void run_job();
  void fail_attempt();
  void cancel(const std::string& request);
  void discard(const std::string& digest);
  void remove_job(const std::string& request);
  void retain(const std::string& digest);
  void pause_and_resume();
  void back_up_and_restore();
  void run_sweep();
  void said();

  std::filesystem::path root_;
  FileDescriptor lock_;
  SystemClock clock_;
  Metrics metrics_;
  JobStore store_;
  BlobStore blobs_;
  Coordinator coordinator_;
  Sweeps sweeps_;
  Promises* promises_ = nullptr;
  std::function<void()> acknowledged_;
  std::string model_;
};

}  // namespace wring::crash

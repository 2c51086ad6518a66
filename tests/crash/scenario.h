// A life of a data folder in a few calls, each of which says what is promised from then on.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "server/api/coordinator.h"
#include "server/auth/door.h"
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
  // What each of Session::settings() is; while a change is not answered, either.
  std::map<std::string, std::set<std::string>> settings;
  std::map<std::string, std::string> tokens;  // name -> secret
  std::string stage;                          // manifest digest of the project's shared stage
};

inline constexpr std::uint64_t kTrials = 3;  // of the sweep
inline constexpr const char* kPaused = "paused";

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
  // What is paused, quotas, and whom the door takes a token or a certificate for, or why it refuses it.
  std::map<std::string, std::string> settings(const Promises& promises);
  v1::FindStageResponse find_stage();

 private:
  std::string put(const std::string& name, const std::vector<std::string>& chunks);
  void submit(const std::string& request);
  void run_job();
  void fail_attempt();
  void cancel(const std::string& request);
  void discard(const std::string& digest);
  void remove_job(const std::string& request);
  void retain(const std::string& digest);
  // Makes `change`, after which the setting `what` is `value`.
  void set(const std::string& what, const std::string& value, const std::function<void()>& change);
  void set_quota(const Quota& quota);
  void pause_job(const std::string& request, bool paused);
  void pause_and_resume();
  void issue_tokens();
  std::string issue_token(const std::string& name, Scope scope);
  void share_stage(const std::vector<std::string>& chunks);
  std::string who(const Credentials& credentials) const;
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
  Tokens tokens_;
  Door door_;
  Promises* promises_ = nullptr;
  std::function<void()> acknowledged_;
  std::string model_;
};

}  // namespace wring::crash

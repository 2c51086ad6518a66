// The client library: jobs, artifacts and evaluations of one server, with retries and a watch that survives a
// restart.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/messages.h"
#include "common/digest.h"

namespace wring {

// Bytes moved of all that must move.
using TransferProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct Uploaded {
  v1::Artifact artifact;
  std::uint64_t total_bytes = 0;  // of the tree
  std::uint64_t sent_bytes = 0;   // of those, what the store did not hold yet
};

struct WatchOptions {
  std::uint64_t after_event = 0;  // cursor; 0: from the job's first event
  double patience_seconds = 300;  // how long a server may be gone before the watch gives up
  double tick_seconds = 0.25;
  std::function<bool()> on_tick;               // called while nothing comes; false ends the watch
  std::function<void(const Error&)> on_break;  // the stream broke and will be opened again
};

struct Connection;  // client/connection.h

// A connection to one server. Calls throw wring::Error as the server gave it; a call that finds the server
// gone is tried again for two seconds (all calls are idempotent), then throws kUnavailable. Any thread may
// call.
class Client {
 public:
  // Connects lazily: no error before the first call. Throws Error(kInvalidArgument, "NO_SERVER") without a
  // server.
  explicit Client(const ClientConfig& config);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  const std::string& server() const;
  // Whether the server answers its health check as serving within `seconds`.
  bool ready(double seconds);

  // `request_id`: a UUID; the same one with the same spec gives the same job.
  v1::Job submit(const v1::JobSpec& spec, const std::string& request_id);
  v1::Job get(const std::string& id);  // or a unique prefix
  v1::ListJobsResponse list(const v1::ListJobsRequest& request);
  v1::Job cancel(const std::string& id);
  v1::Job retry(const std::string& id);
  v1::Job pause_job(const std::string& id);
  v1::Job resume_job(const std::string& id);
  void remove(const std::string& id);

  v1::Project pause_project(const std::string& name);
  v1::Project resume_project(const std::string& name);
  std::vector<v1::Project> projects();  // with open jobs, paused, or with a quota; by name
  v1::Project set_quota(const v1::SetQuotaRequest& request);
  v1::Worker pause_worker(const std::string& id_or_name);
  v1::Worker resume_worker(const std::string& id_or_name);

  // Waits as long as the server takes to check every corner of the space.
  v1::Sweep submit_sweep(const v1::SubmitSweepRequest& request);
  v1::Sweep sweep(const std::string& id);  // or a unique prefix, as all of these
  v1::ListSweepsResponse sweeps(const v1::ListSweepsRequest& request);
  std::vector<v1::Trial> trials(const std::string& id);  // all, by number
  v1::QueryFrontResponse front(const v1::QueryFrontRequest& request);
  v1::Sweep pause_sweep(const std::string& id);
  v1::Sweep resume_sweep(const std::string& id);
  v1::Sweep stop_sweep(const std::string& id);
  v1::Sweep cancel_sweep(const std::string& id);
  v1::Sweep extend_sweep(const v1::ExtendSweepRequest& request);
  void remove_sweep(const std::string& id);

  v1::CreateTokenResponse create_token(const v1::CreateTokenRequest& request);
  std::vector<v1::Token> tokens();  // all, by id
  v1::Token revoke_token(const std::string& id);

  // Calls `on_event` for each event until the job has ended or on_tick says so; reconnects from the last
  // event's number when the stream breaks. Returns the job as it is then.
  v1::Job watch(const std::string& id, const WatchOptions& options,
                const std::function<void(const v1::Event&)>& on_event);

  v1::ValidateRecipeResponse validate(const std::string& recipe);
  std::string catalogue_digest();     // of the server's methods and suites
  std::vector<v1::Worker> workers();  // all, by id
  v1::QueryEvaluationsResponse evaluations(const v1::QueryEvaluationsRequest& request);

  v1::Artifact artifact(const std::string& digest);  // or a unique prefix of at least 4 digits
  v1::Artifact set_retention(const v1::SetRetentionRequest& request);
  // Or a unique prefix; an empty project: the caller's, or the only one that has it.
  void remove_artifact(const std::string& digest, const std::string& project = {});
  v1::ListArtifactsResponse artifacts(const v1::ListArtifactsRequest& request);

  // Uploads a folder (hidden files left out) or one file as an artifact: only the chunks that the store lacks
  // are sent. `kind`: "model", "dataset", ... A folder that download_artifact wrote gives the digest it was
  // downloaded as.
  Uploaded upload_tree(const std::filesystem::path& path, const std::string& kind,
                       const std::string& name = {}, const TransferProgress& progress = {});

  // Writes the artifact's files to the folder `out`, which must not exist or be empty. Every chunk is
  // verified; the folder appears whole or not at all. Its manifest lies in it as .wring-manifest.json. Throws
  // kAlreadyExists
  // ("OUT_EXISTS") where `out` holds something, kDataLoss where a chunk is not what its digest says.
  v1::Artifact download_artifact(const std::string& digest, const std::filesystem::path& out,
                                 const TransferProgress& progress = {});

 private:
  std::unique_ptr<Connection> connection_;
};

// What `text` is as an input of a job: the digest of an artifact in the store, or of one uploaded from the
// path `text`. A path that exists wins; else `text` must be hex digits that name an artifact.
std::string resolve_input(Client& client, const std::string& text, const std::string& kind,
                          const TransferProgress& progress = {});
// Throws NO_SUCH_INPUT about `field` where `text` is none.
void check_input(Client& client, const std::string& text, const std::string& field);
// The same as far as no server is needed: whether it is a path, else it could be a digest.
bool names_path(const std::string& text, const std::string& field);

}  // namespace wring

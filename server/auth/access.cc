// The table of methods. tests/server/door_test.cc compares it with the API's descriptors.
#include "server/auth/access.h"

#include <algorithm>

#include "common/error.h"

namespace wring {
namespace {

constexpr auto kViewer = Scope::kViewer, kSubmitter = Scope::kSubmitter, kAdmin = Scope::kAdmin;
constexpr std::nullopt_t kNobody = std::nullopt;

// Blobs show in no list before CommitArtifact, and leases and stages are events of their job: these are not
// in the audit log.
constexpr Access kTable[] = {
    // method, people from, workers, audited
    {"Artifacts/FindMissingBlobs", kSubmitter, true, false},
    {"Artifacts/WriteBlob", kSubmitter, true, false},
    {"Artifacts/QueryWriteStatus", kSubmitter, true, false},
    {"Artifacts/ReadBlob", kViewer, true, false},
    {"Artifacts/CommitArtifact", kSubmitter, true, true},
    {"Artifacts/GetArtifact", kViewer, true, false},
    {"Artifacts/ListArtifacts", kViewer, false, false},
    {"Artifacts/SetRetention", kSubmitter, false, true},
    {"Artifacts/DeleteArtifact", kSubmitter, false, true},
    {"Evaluations/QueryEvaluations", kViewer, false, false},
    {"Jobs/SubmitJob", kSubmitter, false, true},
    {"Jobs/GetJob", kViewer, false, false},
    {"Jobs/ListJobs", kViewer, false, false},
    {"Jobs/WatchJob", kViewer, false, false},
    {"Jobs/ListEvents", kViewer, false, false},
    {"Jobs/ListLogLines", kViewer, false, false},
    {"Jobs/CancelJob", kSubmitter, false, true},
    {"Jobs/RetryJob", kSubmitter, false, true},
    {"Jobs/PauseJob", kSubmitter, false, true},
    {"Jobs/ResumeJob", kSubmitter, false, true},
    {"Jobs/DeleteJob", kSubmitter, false, true},
    {"Methods/ListMethods", kViewer, false, false},
    {"Methods/GetMethod", kViewer, false, false},
    {"Methods/ValidateRecipe", kViewer, false, false},
    {"Projects/PauseProject", kSubmitter, false, true},
    {"Projects/ResumeProject", kSubmitter, false, true},
    {"Projects/SetQuota", kAdmin, false, true},
    {"Projects/ListProjects", kViewer, false, false},
    {"Sweeps/SubmitSweep", kSubmitter, false, true},
    {"Sweeps/GetSweep", kViewer, false, false},
    {"Sweeps/ListSweeps", kViewer, false, false},
    {"Sweeps/ListTrials", kViewer, false, false},
    {"Sweeps/QueryFront", kViewer, false, false},
    {"Sweeps/QuerySavings", kViewer, false, false},
    {"Sweeps/PauseSweep", kSubmitter, false, true},
    {"Sweeps/ResumeSweep", kSubmitter, false, true},
    {"Sweeps/StopSweep", kSubmitter, false, true},
    {"Sweeps/CancelSweep", kSubmitter, false, true},
    {"Sweeps/ExtendSweep", kSubmitter, false, true},
    {"Sweeps/DeleteSweep", kSubmitter, false, true},
    {"Tokens/CreateToken", kAdmin, false, true},
    {"Tokens/ListTokens", kAdmin, false, false},
    {"Tokens/RevokeToken", kAdmin, false, true},
    {"Workers/RegisterWorker", kNobody, true, true},
    {"Workers/LeaseJob", kNobody, true, false},
    {"Workers/Heartbeat", kNobody, true, false},
    {"Workers/ReportStage", kNobody, true, false},
    {"Workers/FinishAttempt", kNobody, true, true},
    {"Workers/FindStage", kNobody, true, false},
    {"Workers/KeepStage", kNobody, true, false},
    {"Workers/ListWorkers", kViewer, false, false},
    {"Workers/PauseWorker", kAdmin, false, true},
    {"Workers/ResumeWorker", kAdmin, false, true},
    {"Workers/GetSystem", kViewer, false, false},
};

}  // namespace

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::kViewer:
      return "viewer";
    case Scope::kSubmitter:
      return "submitter";
    case Scope::kAdmin:
      return "admin";
    case Scope::kWorker:
      return "worker";
  }
  return "unknown";
}

Scope parse_scope(const std::string& text) {
  for (const auto scope : {Scope::kViewer, Scope::kSubmitter, Scope::kAdmin, Scope::kWorker})
    if (to_string(scope) == text) return scope;
  throw Error(ErrorCode::kInvalidArgument, "BAD_SCOPE", "'" + text.substr(0, 40) + "' is no scope", "scope",
              "viewer, submitter, admin or worker.");
}

std::span<const Access> access_table() {
  return kTable;
}

const Access& access_of(std::string_view method) {
  const auto* const row =
      std::find_if(std::begin(kTable), std::end(kTable), [&](const auto& a) { return a.method == method; });
  if (row == std::end(kTable))
    throw Error(ErrorCode::kInternal, "NO_ACCESS_RULE", "nobody may call " + std::string(method));
  return *row;
}

bool may(Scope scope, const Access& access) {
  if (scope == Scope::kWorker) return access.workers;
  return access.people && scope >= *access.people;
}

}  // namespace wring

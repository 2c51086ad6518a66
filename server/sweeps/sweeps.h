// The calls about sweeps: submit, read, pause, stop, cancel, extend, and the front of what was tried.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "server/sweeps/runner.h"
#include "wring/v1/sweeps.pb.h"

namespace wring {

// Any thread may call. Every mutation returns after it is on disk. Calls take sweeps by id or by a unique
// prefix, among those of the project within which the caller is; they throw Error with the codes of
// proto/wring/v1.
class Sweeps {
 public:
  // All outlive it; its runner goes on with the sweeps that had not ended.
  Sweeps(JobStore& store, Coordinator& coordinator, const Clock& clock)
      : store_(store), coordinator_(coordinator), clock_(clock), runner_(store, coordinator, clock) {}

  v1::Sweep submit(const Within& project, const v1::SubmitSweepRequest& request);
  v1::Sweep get(const Within& project, const std::string& id);
  v1::ListSweepsResponse list(const Within& project, const v1::ListSweepsRequest& request);
  v1::ListTrialsResponse trials(const Within& project, const v1::ListTrialsRequest& request);
  v1::QueryFrontResponse front(const Within& project, const v1::QueryFrontRequest& request);
  v1::QuerySavingsResponse savings(const Within& project, const std::string& id);
  v1::Sweep pause(const Within& project, const std::string& id, const std::string& etag, bool paused);
  v1::Sweep stop(const Within& project, const std::string& id, const std::string& etag);
  v1::Sweep cancel(const Within& project, const std::string& id, const std::string& etag);
  v1::Sweep extend(const Within& project, const v1::ExtendSweepRequest& request);
  void remove(const Within& project, const std::string& id, const std::string& etag);

 private:
  // Changes the row under the runner's lock; `change` throws, or returns whether anything changed.
  v1::Sweep change(const Within& project, const std::string& id, const std::string& etag,
                   const std::function<bool(SweepRecord&)>& change);
  StoredSweep find(const Within& project, const std::string& id);
  v1::Sweep message(const StoredSweep& stored, bool whole);
  // The digests of all that the sweep names. Throws kNotFound "ARTIFACT_NOT_FOUND", kInvalidArgument
  // "UNKNOWN_INPUT".
  std::set<std::string> check_inputs(const Within& project, const v1::SweepSpec& spec, const Sweep& sweep);

  // Throws kInvalidArgument "UNKNOWN_CLASS", and "CONTRADICTORY_GOAL" where spec and goal name two.
  void check_class(const v1::SweepSpec& spec, const Sweep& sweep);
  // Throws kFailedPrecondition "BOUND_REACHED".
  void check_goes_on(const SweepRecord& record);

  JobStore& store_;
  Coordinator& coordinator_;
  const Clock& clock_;
  SweepRunner runner_;
};

}  // namespace wring

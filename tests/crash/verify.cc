// A start, then a look as an operator takes it (fsck), then as clients and workers do.
#include "tests/crash/verify.h"

#include <algorithm>

#include "common/error.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "server/store/sqlite/connection.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/fsck.h"

namespace wring::crash {

namespace fs = std::filesystem;

namespace {

class Verifier {
 public:
  Verifier(const fs::path& root, const Promises& promises) : root_(root), promises_(promises) {}

  std::vector<std::string> run() {
    try {
      { const Session recovered(root_); }
      check_folder("data");
      check_backup();
      check_folder("restored");
      check_artifacts("restored", promises_.in_restored);
      Session session(root_);
      check_artifacts(session);
      check_jobs(session);
      check_sweep(session);
      check_settings(session);
      check_stage(session);
      check_lease(session);
    } catch (...) {
      say("it does not start: " + describe(current_error()));
    }
    return found_;
  }

 private:
  void say(const std::string& text) { found_.push_back(text); }

  void check_folder(const std::string& name) {
    if (!fs::exists(root_ / name / kDatabase)) return;
    const auto report = check_data(root_ / name);
    if (!report.is_clean()) say("fsck of " + name + ": " + report.to_json().dump());
  }

  // A backup that has a name is whole, also the one before it; it can be restored.
  void check_backup() {
    const auto folder = root_ / "backup";
    if (!fs::exists(folder / kDatabase)) {
      if (!promises_.in_backup.empty()) say("the backup is lost");
      return;
    }
    const auto report = restore_backup(folder, root_ / "again", SystemClock());
    if (!report.lost.empty()) say("the backup lacks " + std::to_string(report.lost.size()) + " blobs");
    check_folder("again");
    check_artifacts("again", promises_.in_backup);
    fs::remove_all(root_ / "again");
  }

  void check_artifacts(const std::string& folder, const std::set<std::string>& digests) {
    if (digests.empty()) return;
    JobStore store(root_ / folder);
    for (const auto& digest : digests)
      if (!store.has_artifact(digest, {})) say(folder + " lacks artifact " + digest);
  }

  void check_artifacts(Session& session) {
    for (const auto& digest : promises_.artifacts) {
      const auto artifact = session.store().artifact(digest, {});
      if (!artifact) {
        say("artifact " + digest + " is lost");
        continue;
      }
      if (promises_.pinned.contains(digest) && !artifact->pinned())
        say("artifact " + digest + " is not pinned");
      read_chunks(session, artifact->manifest_json());
    }
  }

  static void read_chunks(Session& session, const std::string& manifest) {
    for (const auto& file : Manifest::parse(manifest).files)
      for (const auto& chunk : file.chunks)
        session.blobs().read(chunk.digest, 0, 0, [](std::span<const std::byte>) { return true; });
  }

  void check_jobs(Session& session) {
    for (const auto& [request, id] : promises_.jobs) {
      const auto stored = session.store().request(request);
      if (!stored || stored->first != id) say("request " + request + " is no longer job " + id);
      if (!session.store().job(id)) say("job " + id + " is lost");
    }
    for (const auto& job : session.store().jobs({})) check_job(session, job.record);
  }

  void check_job(Session& session, const JobRecord& record) {
    if (const auto end = promises_.ends.find(record.id); end != promises_.ends.end())
      if (std::pair(record.phase, record.result) != end->second)
        say("job " + record.id + " is " + std::string(to_string(record.phase)) + " " + record.result);
    if (!record.result.empty() && !session.store().has_artifact(record.result, {}))
      say("the result of job " + record.id + " is lost");
    const auto events = session.store().events(record.id, 0, 1000);
    int ends = 0;
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (events[i].number != i + 1) say("job " + record.id + " lacks event " + std::to_string(i + 1));
      ends += is_terminal(events[i].phase);
    }
    if (events.size() != record.last_event)
      say("job " + record.id + " has " + std::to_string(events.size()) + " of " +
          std::to_string(record.last_event) + " events");
    if (ends != static_cast<int>(is_terminal(record.phase)))
      say("job " + record.id + " has " + std::to_string(ends) + " ends");
  }

  // Its trials have every number once, and each is a job: no job of it is beside them.
  void check_sweep(Session& session) {
    if (promises_.sweep.empty()) return;
    session.store().read([&](Connection& db) {
      const auto sweep = find_sweep(db, promises_.sweep);
      if (!sweep) return say("sweep " + promises_.sweep + " is lost");
      const auto trials = list_trials(db, promises_.sweep, 0, 1000);
      for (std::size_t n = 0; n < trials.size(); ++n)
        if (trials[n].number != n || trials[n].job.empty()) say("the sweep lacks trial " + std::to_string(n));
      Statement jobs(db, "SELECT count(*) FROM jobs WHERE name GLOB 's/*'");
      jobs.row();
      if (jobs.integer(0) != static_cast<std::int64_t>(trials.size()) || trials.size() > kTrials)
        say(std::to_string(jobs.integer(0)) + " jobs are " + std::to_string(trials.size()) + " trials of " +
            std::to_string(kTrials));
      if (promises_.sweep_ended &&
          (sweep->record.phase != SweepPhase::kSucceeded || trials.size() != kTrials))
        say("the sweep has not ended any more");
    });
  }

  void check_settings(Session& session) {
    auto settings = session.settings(promises_);
    for (const auto& [what, promised] : promises_.settings)
      if (!promised.contains(settings[what]))
        say(what + " is " + settings[what] + " and was " +
            join(std::vector<std::string>(promised.begin(), promised.end()), " or "));
  }

  // One that is found is whole; the one that was kept first is.
  void check_stage(Session& session) {
    const auto found = session.find_stage();
    if (found.found()) read_chunks(session, found.manifest_json());
    const auto digest = found.found() ? Manifest::parse(found.manifest_json()).digest().hex() : "nothing";
    if (!promises_.stage.empty() && digest != promises_.stage)
      say("the shared stage is " + digest + " and was " + promises_.stage);
  }

  // A lease that is given now is newer than every lease that was given before, and of nothing that is paused.
  void check_lease(Session& session) {
    if (session.store().workers().empty()) return;
    const auto leased = session.lease();
    if (!leased.leased()) return;
    if (leased.fence().n() <= promises_.fence)
      say("lease " + std::to_string(leased.fence().n()) + " after " + std::to_string(promises_.fence));
    for (const auto& what : {std::string("project"), std::string("worker"), "job " + leased.job().id()})
      if (const auto promised = promises_.settings.find(what);
          promised != promises_.settings.end() && promised->second == std::set<std::string>{kPaused})
        say("job " + leased.job().id() + " is leased, and " + what + " is paused");
  }

  fs::path root_;
  const Promises& promises_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> verify(const fs::path& root, const Promises& promises) {
  return Verifier(root, promises).run();
}

}  // namespace wring::crash

// The other processes of a job: children of its first one, that join it in stages which are split.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/subprocess.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/team.h"
#include "formats/file_tree.h"

namespace wring {

// What a process must know to join a method's run().
struct SharedStage {
  const FileTree& model;
  std::optional<FileTree> reference, statistics;
  std::string method;            // empty: statistics are gathered
  std::set<Statistic> gathered;  // those
  const Json& params;
  std::string field;  // of the stage
  const std::set<const Layer*>& targets;
  const Calibration& calibration;
  std::filesystem::path snapshot;  // folder; empty: none is kept
  std::uint64_t seed;
};

// Whether a method's work is split over a team: it knows its data by statistics or gradients alone.
bool can_split(const Method& method);

// Started once they are needed, each with a socket to each other; they die with this object, and with the
// thread that made it. One thread.
class Helpers {
 public:
  // `processes` in all. Each computes in `threads` on `device`, or, of accelerators, on its own one from
  // there.
  Helpers(int processes, int threads, const std::string& device);

  Team& team() { return *team_; }

  // They start on the stage, and call what this process is to call now.
  void begin(const SharedStage& stage);

 private:
  Error why_lost(int rank);

  std::vector<Subprocess> children_;
  std::unique_ptr<Team> team_;
};

// The life of one of them: `wring-engine join RANK SIZE`, with the socket to process i at descriptor 3 + i.
int run_helper(int rank, int size);

}  // namespace wring

// Writing artifacts: what they are made of once, and a row for each project that has them.
#pragma once

#include <string>
#include <vector>

#include "server/scheduler/records.h"
#include "server/store/connection.h"
#include "wring/v1/artifacts.pb.h"

namespace wring {

// So long what a job has handed in is there; once it succeeds, its spec says how long.
inline constexpr TimeMs kUntilTheJobEnds = 86'400'000;

// What the manifest is made of is the project's from now on.
void own_chunks(Connection& db, const std::string& project, const std::string& manifest);

// Of artifact.project(), or "default"; its chunks are the project's from then on. Changes nothing where the
// project has it already.
void put_artifact(Connection& db, const v1::Artifact& artifact);

// Gives `project` an artifact that another one has: without the other's name, maker and retention. Changes
// nothing where there is none, or the project has it.
void share_artifact(Connection& db, const std::string& digest, const std::string& project);

// Notes on the artifacts, which become ones of the job's project, that `job`, which has ended, made them, and
// how long its spec wants them kept. The first job stays the maker; what the project had before the job was
// submitted, or another job made, is kept no shorter than it was to be.
void put_made(Connection& db, const std::vector<std::string>& digests, const JobRecord& job);

}  // namespace wring

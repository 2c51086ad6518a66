// One engine child: started, listened to, kept within its limits, stopped, and its end explained.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/json.h"
#include "worker/pipe.h"
#include "worker/sandbox.h"
#include "worker/stop_signal.h"

namespace wring {

// What to do about the engine's lines, while it runs. Called on the thread that runs it; an Error thrown here
// ends the engine and becomes the outcome.
class EngineListener {
 public:
  virtual ~EngineListener() = default;
  virtual void on_plan(const PlanLine& plan) = 0;
  // The members of lookup_result that say where the output is; nullopt where there is none.
  virtual std::optional<Json> on_lookup(const LookupLine& lookup) = 0;
  virtual void on_started(const StartedLine& started) = 0;
  virtual void on_progress(const ProgressLine& progress) = 0;
  virtual void on_done(const DoneLine& done) = 0;
  virtual void on_rows(const RowsLine& rows) = 0;
  virtual void on_log(const std::string& line) = 0;
  // Ten times a second: its anonymous and shared memory.
  virtual void on_memory(std::uint64_t bytes) = 0;
};

struct EngineRun {
  std::filesystem::path program;     // absolute
  std::filesystem::path folder;      // its working folder, its home and its place for temporary files
  const Sandbox* sandbox = nullptr;  // none: it may do what this process may
  OwnFiles own;                      // what else than `folder` the sandbox lets it change and read
  std::filesystem::path log;         // its standard output and error go here, at most 16 MiB
  Json start;                        // the start message
  std::uint64_t memory_bytes =
      0;  // limit of its anonymous and shared memory (mapped blobs do not count); 0: none
  bool limit_is_jobs = false;  // which else is the worker's
  double seconds = 0;          // limit of the attempt; 0: none
  Stopwatch began;             // the attempt
};

struct EngineOutcome {
  std::optional<ResultLine> result;      // it has ended well
  std::optional<v1::ErrorDetail> error;  // it has failed; neither: it was stopped
  std::uint64_t peak_bytes = 0;          // resident
};

// Runs the engine's job to its end. Nothing of its process group is left when this returns. The engine dies
// with the calling thread. Ignores SIGPIPE in this process from now on.
//
// Errors in the outcome: what the engine says; ENGINE_CRASH (with the signal), OUT_OF_MEMORY (the kernel's
// doing, or the worker's limit), MEMORY_LIMIT (the job's), MAX_RUNTIME, ENGINE_PROTOCOL; the engine's last 20
// log lines with each.
EngineOutcome run_engine(const EngineRun& run, EngineListener& listener, const StopSignal& stop);

// What `program devices` prints. Throws Error(kFailedPrecondition, "NO_ENGINE") where it does not work.
HelloLine ask_engine_devices(const std::filesystem::path& program);

}  // namespace wring

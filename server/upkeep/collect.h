// Deletes artifacts whose time is over, outputs of stages beyond their limits, and the blobs that none is
// made of.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "common/clock.h"
#include "common/json.h"
#include "server/blobs/blob_store.h"
#include "server/http/metrics.h"
#include "server/store/job_store.h"

namespace wring {

// How much is kept of the stages' outputs that projects share: nothing that was not used for so long, and of
// the rest the most recently used, in all of so many bytes (chunks that they share counted each time).
struct StageCacheLimits {
  TimeMs unused = 30 * 86'400'000LL;
  std::uint64_t bytes = 100'000'000'000;
};

struct CollectReport {
  Json to_json() const;
  bool deleted_anything() const { return expired + stages + blobs + unfinished > 0; }

  std::uint64_t expired = 0;           // artifacts
  std::uint64_t stages = 0;            // outputs of stages that are forgotten
  std::uint64_t blobs = 0, bytes = 0;  // deleted
  std::uint64_t kept = 0;              // blobs that artifacts and stages' outputs are made of
  std::uint64_t unfinished = 0;        // blobs that broke off on their way to where blobs lie: given up
};

// Takes the artifact from the project (all projects where it is empty) and lets its chunks live for one more
// grace period, for a backup may be copying them. Throws as JobStore::remove_artifact().
void delete_artifact(const std::string& digest, JobStore& store, BlobStore& blobs, const Within& project);

// Mark and sweep. Uploads may run: a blob is deleted only where nothing wrote it, found it in the store or
// let go of it for `grace` before the sweep began, so that an upload of less than that never loses a chunk. A
// longer one may have to send some again, but what is committed is whole. Grace is longer than the file
// system's clock is coarse (some ms); 0 deletes all that is unused, and is for folders that nobody else uses.
CollectReport collect_garbage(JobStore& store, BlobStore& blobs, TimeMs now, TimeMs grace,
                              const StageCacheLimits& stages = {});

enum class CollectedBy { kOperator, kCollector };
// The same, and writes a row of the audit log that says what was deleted, also where the run then fails. A
// run of the collector that deletes nothing has none. Does not wait for the row.
CollectReport collect_and_note(JobStore& store, BlobStore& blobs, CollectedBy by, TimeMs now, TimeMs grace,
                               const StageCacheLimits& stages = {});

// Collects every `period` on a thread of its own while it lives; what goes wrong is logged.
class Collector {
 public:
  Collector(JobStore& store, BlobStore& blobs, Metrics& metrics, const Clock& clock, TimeMs period,
            TimeMs grace, const StageCacheLimits& stages);
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;
};

}  // namespace wring

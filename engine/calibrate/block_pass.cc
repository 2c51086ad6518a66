// Running a stage's blocks in order, with a snapshot after each.
#include "engine/calibrate/block_pass.h"

#include <string>
#include <utility>

#include "common/error.h"
#include "common/logger.h"
#include "engine/calibrate/calibrate.h"
#include "engine/run/hardware.h"
#include "engine/run/progress.h"
#include "engine/run/team.h"

namespace wring {
namespace {

double last_error(const std::vector<Json>& reports) {
  return reports.empty() ? 0 : json_at<double>(reports.back(), "error", "report");
}

void report(const StageInput& stage, std::size_t done, const std::vector<Json>& reports) {
  stage.progress.report(done, stage.model.block_count(), "blocks", reports.empty() ? "" : "layer error",
                        last_error(reports));
}

struct HalfChanged {};

// A model that was changed in part is no model to start anew with.
void change_model(const std::function<void()>& apply, Snapshot& snapshot) {
  try {
    apply();
  } catch (const std::exception& error) {
    log_warning(std::string("the stage's snapshot is damaged: ") + error.what());
    snapshot.clear();
    throw HalfChanged{};
  }
}

// Takes up the blocks that the snapshot holds, all or none. Returns the first that is left to do.
std::size_t resume(const StageInput& stage, BlockWork& work, BlockStream& stream,
                   std::vector<Json>& reports) {
  Snapshot& snapshot = stage.snapshot;
  if (!snapshot.state()) return 0;
  try {
    const Json& state = *snapshot.state();
    const auto done = json_at<std::size_t>(state, "blocks", "snapshot");
    std::vector<std::function<void()>> changes;
    for (std::size_t block = 0; block < done; ++block)
      changes.push_back(work.restore(block, snapshot.part(block_part_name(block))));
    auto kept = json_at<std::vector<Json>>(state, "reports", "snapshot");
    last_error(kept);
    if (json_at<bool>(state, "hidden", "snapshot")) stream.set_hidden(snapshot.part("hidden").tensors);
    const auto apply = [&] {
      for (const auto& change : changes) change();
    };
    change_model(apply, snapshot);
    reports = std::move(kept);
    snapshot.note_resumed(done);
    return done;
  } catch (const HalfChanged&) {
    throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "the stage's snapshot is damaged", "",
                "It is gone now: run the job again.");
  } catch (const std::exception& error) {
    log_warning(std::string("the stage starts anew, as its snapshot is damaged: ") + error.what());
    snapshot.clear();
    stream = BlockStream(stage.model, stage.calibration);
    return 0;
  }
}

void keep(Snapshot& snapshot, std::size_t block, const Snapshot::Part& part, const BlockStream* stream,
          const std::vector<Json>& reports) {
  std::vector<NamedTensor> tensors, hidden;
  for (const auto& [name, tensor] : part.tensors) tensors.push_back({name, tensor});
  if (stream) hidden = stream->gather_hidden();
  snapshot.put(block_part_name(block), tensors, part.attributes);
  if (stream) snapshot.put("hidden", hidden);
  snapshot.commit({{"blocks", block + 1}, {"hidden", stream != nullptr}, {"reports", reports}});
}

// All processes go on at one block; none before all have read the snapshot, to which the first one adds.
void check_same(Team& team, std::size_t block) {
  for (int rank = 0; rank < team.size(); ++rank) {
    const auto theirs = team.share(rank, {{{"block", block}}, {}}).json.at("block").get<std::size_t>();
    if (theirs != block)
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT",
                  "the stage's snapshot has " + std::to_string(theirs) + " blocks in one process, " +
                      std::to_string(block) + " in another",
                  "", "It is read anew: run the job again.");
  }
}

}  // namespace

std::string block_part_name(std::size_t block) {
  return "block-" + std::to_string(block);
}

BlockStream run_blocks(const StageInput& stage, std::size_t last, bool outputs_needed, BlockWork& work,
                       std::vector<Json>& reports) {
  BlockStream stream(stage.model, stage.calibration);
  std::size_t block = resume(stage, work, stream, reports);
  check_same(stage.calibration.team(), block);
  const bool kept = stage.snapshot.keeps();
  for (; block < last; ++block) {
    report(stage, block, reports);
    const bool go_on = outputs_needed || block + 1 < last;
    const auto part = work.run(block, go_on, stream, reports);
    if (kept) keep(stage.snapshot, block, part, go_on ? &stream : nullptr, reports);
    release_free_memory();
  }
  report(stage, stage.model.block_count(), reports);
  return stream;
}

}  // namespace wring

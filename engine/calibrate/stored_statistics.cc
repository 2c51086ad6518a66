// Gathering block by block through the stage's snapshot, whose parts become the folder's files.
#include "engine/calibrate/stored_statistics.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "engine/calibrate/block_pass.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/tap_observer.h"
#include "engine/model/tensor_file.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = "head";

// Named "PART/TAP:SUM".
std::vector<NamedTensor> tensors_of(const TapObserver& observer, const std::string& part) {
  std::vector<NamedTensor> tensors;
  for (const auto& [tap, statistics] : observer.by_tap())
    for (auto& sum : statistics->tensors())
      tensors.push_back({part + "/" + tap + ":" + sum.suffix, sum.tensor});
  return tensors;
}

class GatherBlock final : public BlockWork {
 public:
  GatherBlock(const std::set<const Layer*>& targets, const std::set<Statistic>& which)
      : targets_(targets), which_(which) {}

  Snapshot::Part run(std::size_t block, bool, BlockStream& stream, std::vector<Json>&) override {
    TapObserver observer(targets_, which_);
    stream.observe_and_advance(block, observer);
    Snapshot::Part part{Json::object(), {}};
    for (auto& named : tensors_of(observer, std::to_string(block)))
      part.tensors.emplace(named.suffix, named.tensor);
    return part;
  }

  std::function<void()> restore(std::size_t, const Snapshot::Part&) override {
    return [] {};
  }

 private:
  const std::set<const Layer*>& targets_;
  const std::set<Statistic>& which_;
};

class GatherStatistics final : public Method {
 public:
  GatherStatistics(std::set<Statistic> which, fs::path folder)
      : which_(std::move(which)), folder_(std::move(folder)) {}

  std::set<Statistic> needs() const override { return which_; }
  bool keeps_layers() const override { return true; }
  void check_model(const Model&, const std::set<const Layer*>&) const override {}

  Json run(const StageInput& stage) const override {
    GatherBlock work(stage.targets, which_);
    std::vector<Json> none;
    const std::size_t blocks = stage.model.block_count();
    const BlockStream stream = run_blocks(stage, blocks, /*outputs_needed=*/true, work, none);
    TapObserver observer(stage.targets, which_);
    for (Layer* layer : stage.model.head_layers()) stream.observe_head(*layer, observer);
    stage.snapshot.put(kHead, tensors_of(observer, kHead));
    return {{"kept", take_parts(stage.snapshot, blocks)}};
  }

 private:
  // Whether the snapshot had all of them.
  bool take_parts(const Snapshot& snapshot, std::size_t blocks) const {
    std::map<std::string, fs::path> files{{kHead, snapshot.file(kHead)}};
    for (std::size_t block = 0; block < blocks; ++block)
      files[std::to_string(block)] = snapshot.file(block_part_name(block));
    for (const auto& [name, file] : files)
      if (file.empty()) return false;
    fs::create_directories(folder_);
    for (const auto& [name, file] : files) {
      std::error_code failed;  // in the sandbox no file is linked into another folder
      const fs::path to = folder_ / (name + ".safetensors");
      fs::create_hard_link(file, to, failed);
      if (failed) fs::copy_file(file, to);
    }
    return true;
  }

  std::set<Statistic> which_;
  fs::path folder_;
};

}  // namespace

StoredStatistics::StoredStatistics(const FileTree& files, std::set<Statistic> which, at::Device device)
    : reader_(files), which_(std::move(which)), device_(device) {}

StatisticsByTap StoredStatistics::block(std::size_t block) const {
  return read(std::to_string(block));
}

StatisticsByTap StoredStatistics::head() const {
  return read(kHead);
}

StatisticsByTap StoredStatistics::read(const std::string& part) const {
  std::map<std::string, std::map<std::string, at::Tensor>> taps;
  for (const auto& name : reader_.names()) {
    if (!name.starts_with(part + "/")) continue;
    const auto start = part.size() + 1, colon = std::max(name.rfind(':'), start);
    taps[name.substr(start, colon - start)][name.substr(colon + 1)] = read_tensor(reader_, name);
  }
  StatisticsByTap restored;
  for (const auto& [tap, sums] : taps) restored[tap] = Statistics::restore(sums, which_, device_);
  return restored;
}

std::unique_ptr<Method> gather_statistics(std::set<Statistic> which, fs::path folder) {
  return std::make_unique<GatherStatistics>(std::move(which), std::move(folder));
}

std::set<const Layer*> statistics_targets(Model& model) {
  std::set<const Layer*> targets;
  for (std::size_t block = 0; block < model.block_count(); ++block)
    for (const Layer* layer : model.block_layers(block)) targets.insert(layer);
  for (const Layer* layer : model.head_layers()) targets.insert(layer);
  return targets;
}

std::uint64_t statistics_bytes(Model& model, const std::set<Statistic>& which) {
  std::map<std::string, std::uint64_t> features;
  for (const Layer* layer : statistics_targets(model))
    features[layer->input_tap()] = static_cast<std::uint64_t>(layer->weight().columns());
  std::uint64_t bytes = 0;
  for (const auto& [tap, n] : features) bytes += bytes_of_sums(n, which);
  return bytes;
}

}  // namespace wring

// Statistics of a model's layers' inputs that outlive the pass that gathered them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "engine/calibrate/parts.h"
#include "engine/methods/method.h"
#include "formats/safetensors.h"

namespace wring {

// A folder of gather_statistics(): BLOCK.safetensors a block and head.safetensors, each with the sums of its
// taps. A block's are read when they are asked for, and nothing is kept. Any thread may read.
class StoredStatistics {
 public:
  StoredStatistics(const FileTree& files, std::set<Statistic> which, at::Device device);

  // Throw Error(kDataLoss) where the files are damaged.
  StatisticsByTap block(std::size_t block) const;
  StatisticsByTap head() const;

 private:
  StatisticsByTap read(const std::string& part) const;

  SafetensorsReader reader_;
  std::set<Statistic> which_;
  at::Device device_;
};

// What gathers `which` statistics of each tap of a model, densely: as a method it changes nothing. Runs on a
// stage whose targets are statistics_targets(), with a snapshot that keeps: what run() has made then lies in
// it, and in `folder`. The folder is not there where the disk had no room beside a model's.
std::unique_ptr<Method> gather_statistics(std::set<Statistic> which, std::filesystem::path folder = {});

// All layers that statistics are gathered for: those of the blocks, and the head.
std::set<const Layer*> statistics_targets(Model& model);

// Of the files that gather_statistics() makes.
std::uint64_t statistics_bytes(Model& model, const std::set<Statistic>& which);

}  // namespace wring

// Whether this machine has room for a job: what its stages will take of memory, disk and time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/calibrate/estimate.h"
#include "engine/run/body.h"
#include "engine/run/graph_forecast.h"
#include "engine/run/job.h"

namespace wring {

// Adds up a job's steps in order. Made once the model is loaded, before anything reads it.
class Room {
 public:
  Room(const JobSpec& spec, const Body& body);

  // `index` in the recipe, `reference` likewise where it works towards another's output; `targets` by name;
  // `estimate` of the input's layers, whatever earlier stages have cut out of them. What the estimate's
  // probes read of the model must be gone from memory.
  StageForecast add_stage(const std::string& method, std::size_t index,
                          const std::vector<std::string>& targets, StageEstimate estimate,
                          std::optional<std::size_t> reference = std::nullopt);

  // Of the graph as it was handed in: what a stage cuts out of it is known once it has.
  StageForecast add_graph_stage(const std::string& method, const Graph& graph, const GraphEstimate& estimate);

  // Statistics of so many bytes, which a stage would do without where the disk is full.
  StageForecast add_statistics(const StageEstimate& estimate, std::uint64_t bytes);

  // An export of what the stages leave; its files stay until the job ends. Says no time and no memory.
  StageForecast add_export(const ExportSpec& exported);

  // Throws Error(kResourceExhausted) "NOT_ENOUGH_MEMORY" or "NOT_ENOUGH_DISK" with the bytes that are
  // missing.
  void check() const;

 private:
  void note_resident();
  std::uint64_t bytes_in(std::optional<std::size_t> reference, const std::string& layer) const;

  struct Stored {
    std::uint64_t weights, bytes;  // as the stages so far leave them
    std::uint64_t input_bytes;
    std::uint64_t input_weights;
    bool packed;  // in a form that ONNX keeps: integers, thin factors, sums of these
  };
  struct Stage {
    std::string method;
    std::uint64_t memory_bytes;  // without the weights that files back
  };

  const JobSpec& spec_;
  std::map<std::string, Stored> layers_;
  std::map<std::size_t, std::map<std::string, Stored>>
      made_;                            // the layers as a stage leaves them, by its index
  std::uint64_t resident_, anonymous_;  // of this process beside a stage
  std::uint64_t model_bytes_;           // as the stages so far leave it
  std::uint64_t disk_bytes_ = 0;        // that the stages write: each output stays until the job ends
  std::uint64_t export_bytes_ = 0;      // of all exports
  double seconds_per_byte_;             // of writing below spec.work
  std::vector<Stage> stages_;
};

}  // namespace wring

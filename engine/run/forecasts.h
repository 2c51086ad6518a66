// What a stage will take of this machine, tried out on the model that was handed in.
#pragma once

#include <string>

#include "engine/methods/method.h"
#include "engine/run/job.h"
#include "engine/run/job_data.h"
#include "engine/run/job_model.h"
#include "engine/run/room.h"
#include "recipe/stage_key.h"

namespace wring {

// Each forecast is added to a room, in the order of the steps. It leaves the model read anew.
class Forecasts {
 public:
  // `threads`: of this process alone, and of each while all of the spec's compute.
  Forecasts(const JobSpec& spec, JobData& data, JobModel& model, int threads, int threads_apart)
      : spec_(spec), data_(data), model_(model), threads_(threads), apart_(threads_apart) {}

  // `gathered`: another step has its statistics.
  StageForecast stage(std::size_t index, Room& room, bool gathered);
  StageForecast statistics(const StatisticsSpec& statistics, const Json& params, const std::string& field,
                           Room& room);

  // Whether a graph's stage trains: of others it takes a whole run to know.
  static bool trains(const Params& params) { return params.has("steps"); }

 private:
  StageForecast graph_stage(const StageSpec& stage, const std::string& field, Room& room);
  StageEstimate estimate(const Method& method, const std::set<const Layer*>& targets,
                         const Calibration& calibration, bool gathered);
  Calibration calibration(const Method& method, const Params& params, const std::string& field);

  const JobSpec& spec_;
  JobData& data_;
  JobModel& model_;
  int threads_, apart_;
};

}  // namespace wring

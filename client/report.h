// A job's answer on one page: what was handed in, what came out, what it cost, where it lies.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"

namespace wring {

// One measured value with its standard error, where it has one.
struct Figure {
  double value = 0;
  std::optional<double> standard_error;
};

// One metric of one suite, before and after. A suite that ran several times (two test texts) gives one entry
// a time.
struct MetricPair {
  std::string suite, metric, unit, hardware;
  std::optional<Figure> before;  // of the input: measured before, or the baseline of the row after
  std::optional<Figure>
      result;  // of the result; of the newest stage where nothing was measured after the last
  std::optional<double> change_error;  // standard error of result - before, paired by window
};

// Pairs evaluation rows ({suite, metric, value, unit, stderr, baseline_value, when, ...}), in their order;
// rows that are text are left out.
std::vector<MetricPair> pair_metrics(const Json& evaluations);

// "perplexity", "bytes on disk", "decode, 2 threads": what a person calls the metric.
std::string metric_label(const MetricPair& metric);

// A value in its unit: "98.4 MB", "12.3 ms", "81.0 tok/s", "23.94".
std::string format_value(double value, std::string_view unit);
// The same with "+- 0.11" behind it.
std::string format_figure(const Figure& figure, std::string_view unit);

// Of a row's details, what is not as one would think: "on Wring's own text, inputs rounded as llama.cpp
// does".
std::string how_measured(const Json& details);

// The report of a job in the JSON form of client/messages.h. A local run gives the same members but id, and
// `out`, the folder that the result lies in. Ends with a line break.
std::string job_report(const Json& job);

// The metrics of two jobs' results side by side with the difference of B to A.
std::string comparison(const Json& a, const Json& b);
// The same as data: [{suite, metric, unit, a, b, delta}].
Json comparison_json(const Json& a, const Json& b);

}  // namespace wring

// Laying out a job's figures for a person.
#include "client/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <tuple>

#include "client/node_report.h"
#include "common/text.h"

namespace wring {
namespace {

// A metric that has a name of its own, that stands behind the row of another one, or that only `wring evals`
// shows.
struct Known {
  std::string_view suite, metric, label;
  std::string_view beside;  // the metric of the suite whose row it is a remark of; empty: a row of its own
  bool as_percent = false;  // a share of 0..1
  bool hidden = false;
};

constexpr std::array<Known, 20> kKnown{{
    {"accuracy", "top1", "accuracy", "", true},
    {"accuracy", "cross_entropy", "cross entropy", ""},
    {"size", "parameters", "parameters", ""},
    {"size", "macs", "multiply-adds", ""},
    {"size", "activation_bytes", "memory of values", ""},
    {"perplexity", "perplexity", "perplexity", ""},
    {"perplexity", "kl_mean", "KL", "perplexity"},
    {"perplexity", "top1_agreement", "top-1 agreement", "perplexity", true},
    {"perplexity", "nll", "negative log likelihood", "", false, true},
    {"perplexity", "kl_p99", "KL, 99th percentile", "", false, true},
    {"perplexity", "kl_max", "KL, worst token", "", false, true},
    {"size", "artifact_bytes", "bytes on disk", ""},
    {"size", "share_of_bf16", "share of bf16", "artifact_bytes", true},
    {"size", "weight_bytes", "bytes of weights", ""},
    {"size", "bits_per_weight", "bits per weight", "weight_bytes"},
    {"similarity", "cosine_mean", "cosine to dense", ""},
    {"similarity", "cosine_min", "worst", "cosine_mean"},
    {"similarity", "neighbour_overlap", "neighbour overlap", "", true},
    {"latency", "forward_seconds", "forward", ""},
    {"latency", "decode_speed", "decode", ""},
}};

const Known* known(const MetricPair& metric) {
  const auto it = std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) {
    return k.suite == metric.suite && k.metric == metric.metric;
  });
  return it == kKnown.end() ? nullptr : &*it;
}

std::string with_digits(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Four significant digits, without an exponent where the number is of a usual size.
std::string plain(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (value == std::round(value) && size < 1e15) return with_digits("%.0f", value);
  if (size >= 1e6 || size < 1e-4) return with_digits("%.3e", value);
  const int before_point = static_cast<int>(std::floor(std::log10(size))) + 1;
  return format_number(value, std::clamp(4 - before_point, 0, 6));
}

std::string seconds_text(double seconds) {
  if (seconds < 1e-3) return plain(seconds * 1e6) + " us";
  if (seconds < 1) return plain(seconds * 1e3) + " ms";
  return plain(seconds) + " s";
}

std::optional<double> number(const Json& row, const char* key) {
  const auto it = row.find(key);
  return it != row.end() && it->is_number() ? std::optional<double>(it->get<double>()) : std::nullopt;
}

bool is_text_row(const Json& row) {
  return !json_or<std::string>(row, "text", "").empty();
}

bool is_of_export(const Json& row) {
  return json_or<std::string>(row, "when", "").starts_with("export: ");
}

// What the result costs of what was handed in, said as its unit wants it.
std::string ratio(const MetricPair& metric) {
  if (!metric.before || !metric.result || metric.before->value == 0) return "";
  const double quotient = metric.result->value / metric.before->value;
  if (metric.unit == "bytes") return format_number(100 * quotient, 0) + " %";
  if (metric.unit == "s" && quotient > 0) return format_number(1 / quotient, 2) + "x as fast";
  if (metric.unit == "tokens/s") return format_number(quotient, 2) + "x as fast";
  if (metric.change_error) {
    const double change = metric.result->value - metric.before->value;
    return (change < 0 ? "" : "+") + format_figure({change, metric.change_error}, metric.unit);
  }
  return "";
}

std::string shown(const Figure& figure, const MetricPair& metric) {
  const auto* entry = known(metric);
  if (!entry || !entry->as_percent) return format_figure(figure, metric.unit == "bits" ? "" : metric.unit);
  Figure percent{100 * figure.value, std::nullopt};
  if (figure.standard_error) percent.standard_error = 100 * *figure.standard_error;
  return format_figure(percent, "%");
}

// "KL 0.031   top-1 agreement 91.2 %": the figures that stand behind this row.
std::string remarks(const MetricPair& row, const std::vector<MetricPair>& all) {
  std::string text;
  for (const auto& metric : all) {
    const auto* entry = known(metric);
    if (!entry || metric.suite != row.suite || entry->beside != row.metric) continue;
    const auto& figure = row.result ? metric.result : metric.before;
    if (!figure) continue;
    text +=
        (text.empty() ? "" : "   ") + std::string(entry->label) + " " + shown({figure->value, {}}, metric);
  }
  return text;
}

bool stands_alone(const MetricPair& metric, const std::vector<MetricPair>& all) {
  const auto* entry = known(metric);
  if (entry && entry->hidden) return false;
  if (!entry || entry->beside.empty()) return true;
  return std::none_of(all.begin(), all.end(), [&](const MetricPair& other) {
    return other.suite == metric.suite && other.metric == entry->beside;
  });
}

std::string metrics_table(const std::vector<MetricPair>& metrics) {
  const bool made_something =
      std::any_of(metrics.begin(), metrics.end(), [](const MetricPair& m) { return m.result.has_value(); });
  std::vector<std::vector<std::string>> rows{{"", "handed in", "result", "", ""}};
  for (const auto& metric : metrics) {
    if (!stands_alone(metric, metrics)) continue;
    rows.push_back({metric_label(metric), metric.before ? shown(*metric.before, metric) : "-",
                    metric.result ? shown(*metric.result, metric) : "-", ratio(metric),
                    remarks(metric, metrics)});
  }
  if (!made_something)
    for (auto& row : rows) row.erase(row.begin() + 2, row.begin() + 4);
  return rows.size() > 1 ? table(rows) : "";
}

// "forecast 41 s, 900 MB": what the engine expected of a stage before it ran; empty where it did not say.
std::string forecast(const Json& stage) {
  const auto seconds = json_or<double>(stage, "forecast_seconds", 0);
  const auto peak = json_or<std::uint64_t>(stage, "forecast_peak_bytes", 0);
  return peak == 0 ? "" : "forecast " + human_duration(seconds) + ", " + human_bytes(peak);
}

// "cached, 269.0 MB of another worker, 0:35 saved"
std::string cached(const Json& stage) {
  if (json_or<std::string>(stage, "cached_in", "") == "skipped") return "not needed: a later one was at hand";
  std::string text = "cached";
  if (const auto bytes = json_or<std::uint64_t>(stage, "cached_bytes", 0); bytes > 0)
    text += ", " + human_bytes(bytes) +
            (json_or<std::string>(stage, "cached_in", "") == "project" ? " of another worker" : "");
  if (const auto saved = json_or<double>(stage, "saved_seconds", 0); saved > 0)
    text += ", " + human_duration(saved) + " saved";
  return text;
}

// What the stages' cache did for the job; empty where it did nothing.
std::string cache_line(const Json& job) {
  std::uint64_t own = 0, others = 0, skipped = 0, made = 0, bytes = 0;
  double seconds = 0;
  for (const auto& stage : job.value("stages", Json::array())) {
    if (json_or<std::string>(stage, "key", "").empty()) continue;
    const auto where = json_or<std::string>(stage, "cached_in", "");
    ++(where.empty() ? made : where == "project" ? others : where == "skipped" ? skipped : own);
    bytes += json_or<std::uint64_t>(stage, "cached_bytes", 0);
    seconds += json_or<double>(stage, "saved_seconds", 0);
  }
  if (own + others == 0) return "";
  return std::to_string(own) + " steps of this worker, " + std::to_string(others) + " of others, " +
         (skipped > 0 ? std::to_string(skipped) + " not needed, " : "") + std::to_string(made) + " made; " +
         human_bytes(bytes) + (seconds > 0 ? " and " + human_duration(seconds) : "") + " saved";
}

// "accuracy held out 91.2 % -> 90.8 %, parameters 270.9 k -> 102.1 k": what a graph's stage says of itself.
std::string graph_remark(const Json& stage) {
  const Json report = stage.value("report", Json::object());
  std::vector<std::string> parts;
  const auto add = [&](const char* label, const Json& json, const char* before, const char* after,
                       const auto& text) {
    if (json.contains(before) && json.contains(after))
      parts.push_back(std::string(label) + " " + text(json.at(before).get<double>()) + " -> " +
                      text(json.at(after).get<double>()));
  };
  add("accuracy held out", report.value("training", Json::object()), "held_out_accuracy_before",
      "held_out_accuracy_after", [](double share) { return with_digits("%.1f %%", 100 * share); });
  for (const auto& [key, label] : {std::pair{"parameters", "parameters"}, std::pair{"macs", "multiply-adds"}})
    if (const Json counts = report.value(key, Json::object()); counts.is_object())
      add(label, counts, "before", "after", plain);
  return join(parts, ", ");
}

std::string stage_lines(const Json& job) {
  std::vector<std::vector<std::string>> rows;
  std::size_t number = 0;
  for (const auto& stage : job.value("stages", Json::array())) {
    const auto state =
        json_or<std::string>(stage, "state", json_or<bool>(stage, "cached", false) ? "cached" : "");
    const auto peak = json_or<std::uint64_t>(stage, "peak_bytes", 0);
    rows.push_back({"stage " + std::to_string(++number), json_or<std::string>(stage, "name", ""),
                    human_duration(json_or<double>(stage, "seconds", 0)),
                    peak > 0 ? "peak " + human_bytes(peak) : "",
                    state == "cached" ? cached(stage) : forecast(stage), graph_remark(stage)});
  }
  return rows.empty() ? "" : table(rows);
}

// Of a job that was only planned: what each stage would take and leave.
std::string plan_report(const Json& job) {
  std::vector<std::vector<std::string>> rows{{"stage", "", "time", "peak memory", "bytes now", "bytes then"}};
  std::uint64_t peak = 0;
  double seconds = 0;
  for (const auto& stage : job.value("stages", Json::array())) {
    const auto bytes = [&](const char* key) {
      const auto value = json_or<std::uint64_t>(stage, key, 0);
      return value == 0 ? std::string() : human_bytes(value);
    };
    const auto stage_peak = json_or<std::uint64_t>(stage, "forecast_peak_bytes", 0);
    const auto stage_seconds = json_or<double>(stage, "forecast_seconds", 0);
    peak = std::max(peak, stage_peak);
    seconds += stage_seconds;
    rows.push_back({std::to_string(rows.size()), json_or<std::string>(stage, "name", ""),
                    json_or<std::string>(stage, "state", "") == "cached" ? "at hand"
                    : stage_peak > 0 ? "about " + human_duration(stage_seconds)
                                     : "no forecast",
                    bytes("forecast_peak_bytes"), bytes("forecast_bytes_before"),
                    bytes("forecast_bytes_after")});
  }
  return table(rows) +
         (peak == 0 ? "" : "about " + human_duration(seconds) + " in all, peak " + human_bytes(peak) + "\n");
}

std::string sample_lines(const Json& evaluations) {
  std::string text;
  for (const auto& row : evaluations) {
    if (!is_text_row(row)) continue;
    std::string quoted = row["text"].get<std::string>();
    for (std::size_t at = 0; (at = quoted.find('\n', at)) != std::string::npos; at += 7)
      quoted.replace(at, 1, "\n       ");
    text += json_or<std::string>(row, "suite", "sample") + " " + json_or<std::string>(row, "when", "") +
            ":\n       " + quoted + "\n";
  }
  return text;
}

// Where an export lies, or how to have it.
std::string place_of(const Json& job, const std::string& digest) {
  for (const auto& exported : job.value("exports", Json::array()))
    if (json_or<std::string>(exported, "digest", "") == digest)
      return "in " + json_or<std::string>(exported, "path", "");
  return "wring get " + digest.substr(0, 12) + " --out DIR";
}

// One line an export: its size, what it measured, and how to have it.
std::string export_lines(const Json& job, const Json& evaluations) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : evaluations) {
    if (!is_of_export(row)) continue;
    const auto suite = json_or<std::string>(row, "suite", ""),
               metric = json_or<std::string>(row, "metric", "");
    const auto digest = json_or<std::string>(row, "artifact", "");
    if (suite == "export" && metric == "bits_per_weight")
      rows.push_back({json_or<std::string>(row, "when", ""),
                      format_number(*number(row, "value"), 3) + " bits a weight", "", "read back as meant",
                      place_of(job, digest)});
    if (rows.empty()) continue;
    std::string& said = rows.back()[2];
    const Json details = json_or<Json>(row, "details", Json::object());
    if (const auto why = json_or<std::string>(details, "not_scored", ""); !why.empty())
      said = "not scored: " + why;
    for (const auto& [name, what] :
         {std::pair{"perplexity", "perplexity "}, {"kl_mean", "KL "}, {"cosine_mean", "cosine "}})
      if (metric == name)
        said += (said.empty() ? "" : "   ") + (what + plain(number(row, "value").value_or(0)));
    const auto how = metric == "perplexity" || metric == "cosine_mean" ? how_measured(details) : "";
    if (!how.empty()) said += " (" + how + ")";
  }
  return rows.empty() ? "" : table(rows) + "\n";
}

std::string provenance(const Json& job) {
  double seconds = 0;
  std::uint64_t peak = 0;
  for (const auto& stage : job.value("stages", Json::array())) {
    seconds += json_or<double>(stage, "seconds", 0);
    peak = std::max(peak, json_or<std::uint64_t>(stage, "peak_bytes", 0));
  }
  std::vector<std::string> made;
  for (const char* key : {"id", "name"})
    if (const auto text = json_or<std::string>(job, key, ""); !text.empty()) made.push_back(text);
  made.push_back("seed " + std::to_string(json_or<std::uint64_t>(job, "seed", 0)));
  made.push_back(human_duration(seconds));
  if (peak > 0) made.push_back("peak " + human_bytes(peak));
  std::vector<std::vector<std::string>> rows{{"made by", join(made, "  ")}};
  if (const auto line = cache_line(job); !line.empty()) rows.push_back({"cache", line});
  if (const auto digest = json_or<std::string>(job, "artifact_digest", ""); !digest.empty()) {
    const auto out = json_or<std::string>(job, "out", "");
    rows.push_back(
        {"artifact", "sha256:" + digest.substr(0, 16) + "...   " +
                         (out.empty() ? "wring get " + digest.substr(0, 12) + " --out DIR" : "in " + out)});
  }
  return table(rows);
}

}  // namespace

std::string format_value(double value, std::string_view unit) {
  if (unit == "bytes" && value >= 0) return human_bytes(static_cast<std::uint64_t>(std::llround(value)));
  if (unit == "s") return seconds_text(value);
  if (unit == "tokens/s") return plain(value) + " tok/s";
  return unit.empty() ? plain(value) : plain(value) + " " + std::string(unit);
}

std::string format_figure(const Figure& figure, std::string_view unit) {
  const auto text = format_value(figure.value, unit);
  if (!figure.standard_error || *figure.standard_error == 0) return text;
  const auto number = text.find(' ');
  const auto error = " +- " + with_digits("%.2g", *figure.standard_error);
  return number == std::string::npos || unit == "bytes" || unit == "s"
             ? text + error
             : text.substr(0, number) + error + text.substr(number);
}

std::string metric_label(const MetricPair& metric) {
  const auto* entry = known(metric);
  std::string label = entry ? std::string(entry->label) : metric.suite + " " + metric.metric;
  const auto threads = metric.hardware.find(" threads");
  const bool timed = metric.unit == "s" || metric.unit == "tokens/s";
  if (!timed || threads == std::string::npos) return label;
  const auto digits = metric.hardware.find_last_not_of("0123456789", threads - 1);
  return label + ", " + metric.hardware.substr(digits + 1, threads - digits - 1) + " threads";
}

std::vector<MetricPair> pair_metrics(const Json& evaluations) {
  using Key =
      std::tuple<std::string, std::string, int>;  // suite, metric, how often it was seen at that point
  std::map<Key, std::size_t> places;
  std::map<std::tuple<std::string, std::string, std::string>, int> seen;
  std::vector<MetricPair> metrics;
  for (const auto& row : evaluations) {
    const auto value = number(row, "value");
    if (is_text_row(row) || !value || is_of_export(row)) continue;
    const auto suite = json_or<std::string>(row, "suite", ""), name = json_or<std::string>(row, "metric", "");
    const auto when = json_or<std::string>(row, "when", "after");
    const int occurrence = seen[{suite, name, when}]++;
    const auto [place, is_new] = places.try_emplace({suite, name, occurrence}, metrics.size());
    if (is_new)
      metrics.push_back({suite,
                         name,
                         json_or<std::string>(row, "unit", ""),
                         json_or<std::string>(row, "hardware", ""),
                         {},
                         {},
                         {}});
    auto& metric = metrics[place->second];
    const Figure figure{*value, number(row, "stderr")};
    (when == "before" ? metric.before : metric.result) = figure;  // rows come in the order they were measured
    if (when != "before") metric.change_error = number(row, "change_stderr");
    if (const auto baseline = number(row, "baseline_value"); baseline && when != "before" && !metric.before)
      metric.before = Figure{*baseline, std::nullopt};
  }
  return metrics;
}

std::string how_measured(const Json& details) {
  std::vector<std::string> said;
  if (json_or<std::string>(details, "data", "") == "own-text") said.push_back("on Wring's own text");
  if (const auto whose = json_or<std::string>(details, "arithmetic", ""); !whose.empty())
    said.push_back("inputs rounded as " + whose + " does");
  return join(said, ", ");
}

std::string job_report(const Json& job) {
  if (json_or<bool>(job, "plan_only", false)) return plan_report(job);
  const auto evaluations = job.value("evaluations", Json::array());
  std::string text = metrics_table(pair_metrics(evaluations));
  if (!text.empty()) text += "\n";
  text += export_lines(job, evaluations) + stage_lines(job) + provenance(job);
  if (const auto nodes = node_table(evaluations); !nodes.empty()) text += "\n" + nodes;
  const auto samples = sample_lines(evaluations);
  return samples.empty() ? text : text + "\n" + samples;
}

namespace {

struct Compared {
  MetricPair metric;
  std::optional<Figure> a, b;
};

std::vector<Compared> compare_metrics(const Json& a, const Json& b) {
  const auto of = [](const Json& job) { return pair_metrics(job.value("evaluations", Json::array())); };
  const auto newest = [](const MetricPair& metric) { return metric.result ? metric.result : metric.before; };
  std::vector<Compared> all;
  for (const auto& metric : of(a)) all.push_back({metric, newest(metric), {}});
  std::vector<bool> taken(all.size(), false);
  for (const auto& metric : of(b)) {
    std::size_t i = 0;
    while (i < taken.size() &&
           (taken[i] || all[i].metric.suite != metric.suite || all[i].metric.metric != metric.metric))
      ++i;
    if (i < taken.size()) {
      all[i].b = newest(metric);
      taken[i] = true;
    } else {
      all.push_back({metric, {}, newest(metric)});
    }
  }
  return all;
}

}  // namespace

std::string comparison(const Json& a, const Json& b) {
  const auto heading = [](const Json& job) {
    return json_or<std::string>(job, "id", "?") + " " + json_or<std::string>(job, "name", "");
  };
  std::vector<std::vector<std::string>> rows{{"", heading(a), heading(b), "B - A", ""}};
  for (const auto& [metric, left, right] : compare_metrics(a, b)) {
    std::string delta, percent;
    if (left && right) {
      const double difference = right->value - left->value;
      delta = (difference < 0 ? "-" : "+") + shown({std::abs(difference), {}}, metric);
      if (left->value != 0) percent = with_digits("%+.1f %%", 100 * difference / std::abs(left->value));
    }
    rows.push_back({metric_label(metric), left ? shown(*left, metric) : "-",
                    right ? shown(*right, metric) : "-", delta, percent});
  }
  const bool empty = rows.size() == 1;
  return table(rows) +
         (empty ? "neither has evaluations: a recipe lists them under 'evaluations:' (docs/recipes.md)\n"
                : "");
}

Json comparison_json(const Json& a, const Json& b) {
  Json rows = Json::array();
  for (const auto& [metric, left, right] : compare_metrics(a, b)) {
    Json row{{"suite", metric.suite}, {"metric", metric.metric}, {"unit", metric.unit}};
    row["a"] = left ? Json(left->value) : Json();
    row["b"] = right ? Json(right->value) : Json();
    row["delta"] = left && right ? Json(right->value - left->value) : Json();
    rows.push_back(row);
  }
  return rows;
}

}  // namespace wring

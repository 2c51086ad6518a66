// Figures, their change, and the words of a check.
#include "client/cli/figures.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "client/messages.h"
#include "client/node_report.h"
#include "common/quantity.h"
#include "common/text.h"

namespace wring {
namespace {

constexpr int kMostRows = 1000;

// {window_nll, window_scored} of a row of perplexity; nothing where it has none.
std::optional<std::pair<std::vector<double>, std::vector<double>>> windows_of(const v1::Evaluation& row) {
  const Json details = Json::parse(row.details_json(), nullptr, false);
  if (!details.is_object() || !details.contains("window_nll") || !details.contains("window_scored"))
    return std::nullopt;
  return std::pair{details.at("window_nll").get<std::vector<double>>(),
                   details.at("window_scored").get<std::vector<double>>()};
}

// What the job measured before its stages.
std::optional<v1::Evaluation> before(CliContext& context, const v1::Evaluation& row) {
  v1::QueryEvaluationsRequest request;
  request.set_job_id(row.job_id());
  request.set_suite(row.suite());
  request.set_metric(row.metric());
  request.set_page_size(kMostRows);
  const auto page = context.client().evaluations(request);
  for (const auto& other : page.evaluations())
    if (other.when() == "before") return other;
  return std::nullopt;
}

// "perplexity +0.2810 +- 0.0451 beside the input": of differences paired by window, by the delta method.
std::string rise_of(CliContext& context, const v1::Evaluation& row) {
  const auto dense = before(context, row);
  const auto ours = windows_of(row), theirs = dense ? windows_of(*dense) : std::nullopt;
  if (!ours || !theirs || ours->second != theirs->second || ours->first.size() < 2) return "";
  const auto count = static_cast<double>(ours->first.size());
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < ours->first.size(); ++i) {
    const double apart = (ours->first[i] - theirs->first[i]) / std::max(1.0, ours->second[i]);
    sum += apart;
    squares += apart * apart;
  }
  const double variance = std::max(0.0, (squares - sum * sum / count) / (count - 1));
  const double rise = row.value() - dense->value(), error = row.value() * std::sqrt(variance / count);
  return "perplexity " + std::string(rise < 0 ? "" : "+") + format_number(rise, 4) + " +- " +
         format_number(error, 4) + " beside the input, paired by window\n";
}

// Counts without a fraction.
std::string shown(double value) {
  return format_number(value, value == std::floor(value) && std::abs(value) >= 1000 ? 0 : 5);
}

// Of the row that an export leaves: what its check has seen.
std::string check_of(const v1::Evaluation& row) {
  const Json said = Json::parse(row.details_json(), nullptr, false);
  if (!said.is_object() || !said.contains("format") || !said.contains("weights")) return "";
  std::string text = said.at("format").get<std::string>() + ": a fresh process read back " +
                     said.at("weights").dump() + " weights and " + said.value("tensors", Json(0)).dump() +
                     " other tensors, all as meant, to the bit\n";
  if (said.contains("file_bytes"))
    text += "files of weights: " + human_bytes(said.at("file_bytes").get<std::uint64_t>()) + ", " +
            format_number(row.value(), 3) + " bits a weight\n";
  if (said.contains("graph_distance"))
    text += "its graph, run beside the model: " +
            format_number(100 * said.at("graph_distance").get<double>(), 5) + " % off\n";
  for (const char* member : {"left_out", "not_read"})
    if (said.contains(member))
      text += std::string(member) + ": " + join(said.at(member).get<std::vector<std::string>>(), ", ") + "\n";
  return text;
}

}  // namespace

std::vector<v1::Evaluation> evaluations_of(CliContext& context, const std::string& artifact) {
  v1::QueryEvaluationsRequest request;
  request.set_artifact(artifact);
  request.set_page_size(kMostRows);
  const auto page = context.client().evaluations(request);
  return {page.evaluations().begin(), page.evaluations().end()};
}

std::string describe_figures(CliContext& context, const std::vector<v1::Evaluation>& rows) {
  std::vector<std::vector<std::string>> cells{
      {"SUITE", "METRIC", "VALUE", "STDERR", "INPUT", "CHANGE", "UNIT", "JOB"}};
  std::string words;
  for (const auto& row : rows) {
    if (!row.text().empty()) continue;
    const double base = row.baseline_value();
    const bool compares = row.has_baseline_value() && base != 0;
    cells.push_back(
        {row.suite(), row.metric(), shown(row.value()),
         row.has_stderr() ? format_number(row.stderr(), 5) : "", row.has_baseline_value() ? shown(base) : "",
         compares ? format_number(100 * (row.value() / base - 1), 2) + " %" : "", row.unit(), row.job_id()});
    if (row.suite() == "export") words += check_of(row);
    if (row.metric() == "perplexity" && row.when() != "before") words += rise_of(context, row);
  }
  if (cells.size() == 1) return "";
  Json listed = Json::array();
  for (const auto& row : rows) listed.push_back(to_json(row));
  const std::string nodes = node_table(listed);
  return "\n" + table(cells) + (words.empty() ? "" : "\n" + words) + (nodes.empty() ? "" : "\n" + nodes);
}

}  // namespace wring

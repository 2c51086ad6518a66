// Figures, their change, and the words of a check.
#include "client/cli/figures.h"

#include <algorithm>
#include <cmath>

#include "client/messages.h"
#include "client/node_report.h"
#include "client/report.h"
#include "common/quantity.h"
#include "common/text.h"

namespace wring {
namespace {

constexpr int kMostRows = 1000;

// "perplexity: on Wring's own text"; empty where it is measured as asked for.
std::string note_of(const v1::Evaluation& row) {
  const Json details = Json::parse(row.details_json(), nullptr, false);
  const std::string how = details.is_object() ? how_measured(details) : "";
  return how.empty() ? "" : row.metric() + ": " + how + "\n";
}

// "perplexity +0.2810 +- 0.0451 beside the input".
std::string rise_of(const v1::Evaluation& row) {
  const double rise = row.value() - row.baseline_value();
  return "perplexity " + std::string(rise < 0 ? "" : "+") + format_number(rise, 4) + " +- " +
         format_number(row.change_stderr(), 4) + " beside the input, paired by window\n";
}

// Counts without a fraction; what five digits behind the point would not show, by its own.
std::string shown(double value) {
  const double size = std::abs(value);
  if (size > 0 && size < 1e-3) return format_value(value, "");
  return format_number(value, value == std::floor(value) && size >= 1000 ? 0 : 5);
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
  if (said.contains("tensor_types")) text += "tensors: " + type_counts(said.at("tensor_types")) + "\n";
  if (said.contains("not_scored")) text += "not scored: " + said.at("not_scored").get<std::string>() + "\n";
  if (said.contains("graph_distance"))
    text += "its graph, run beside the model: " +
            format_number(100 * said.at("graph_distance").get<double>(), 5) + " % off\n";
  for (const char* member : {"left_out", "not_read"})
    if (said.contains(member))
      text += std::string(member) + ": " + join(said.at(member).get<std::vector<std::string>>(), ", ") + "\n";
  return text;
}

}  // namespace

std::string type_counts(const Json& counts) {
  std::vector<std::string> parts;
  for (const auto& [type, count] : counts.items()) parts.push_back(count.dump() + " " + type);
  return join(parts, ", ");
}

std::vector<v1::Evaluation> evaluations_of(CliContext& context, const std::string& artifact) {
  v1::QueryEvaluationsRequest request;
  request.set_artifact(artifact);
  request.set_page_size(kMostRows);
  const auto page = context.client().evaluations(request);
  return {page.evaluations().begin(), page.evaluations().end()};
}

std::string describe_figures(const std::vector<v1::Evaluation>& rows) {
  std::vector<std::vector<std::string>> cells{
      {"SUITE", "METRIC", "VALUE", "STDERR", "INPUT", "CHANGE", "UNIT", "JOB"}};
  std::string words;
  for (const auto& row : rows) {
    if (!row.text().empty()) continue;
    const double base = row.baseline_value();
    const bool compares = row.has_baseline_value() && base != 0;
    cells.push_back({row.suite(), row.metric(), shown(row.value()),
                     row.has_stderr() ? shown(row.stderr()) : "", row.has_baseline_value() ? shown(base) : "",
                     compares ? format_number(100 * (row.value() / base - 1), 2) + " %" : "", row.unit(),
                     row.job_id()});
    std::string said = row.suite() == "export" ? check_of(row) : "";
    if (row.metric() == "perplexity" && row.has_change_stderr()) said += rise_of(row);
    if (row.metric() == "perplexity" || row.metric() == "cosine_mean") said += note_of(row);
    if (words.find(said) == std::string::npos) words += said;  // several jobs may have found the same
  }
  if (cells.size() == 1) return "";
  Json listed = Json::array();
  for (const auto& row : rows) listed.push_back(to_json(row));
  const std::string nodes = node_table(listed);
  return "\n" + table(cells) + (words.empty() ? "" : "\n" + words) + (nodes.empty() ? "" : "\n" + nodes);
}

}  // namespace wring

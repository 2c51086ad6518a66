// Joins the rows' lists by the nodes' names.
#include "client/node_report.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "client/report.h"
#include "common/text.h"

namespace wring {
namespace {

constexpr std::size_t kShown = 10;

struct Node {
  std::string name, operation;
  std::optional<double> seconds, macs, parameters, bytes;
};

// The newest row's list; null where none has one.
const Json* list_of(const Json& evaluations, const char* suite, const char* metric) {
  const Json* list = nullptr;
  for (const auto& row : evaluations) {
    if (json_or<std::string>(row, "suite", "") != suite || json_or<std::string>(row, "metric", "") != metric)
      continue;
    const auto details = row.find("details");
    if (details != row.end() && details->is_object() && details->contains("nodes"))
      list = &details->at("nodes");
  }
  return list && list->is_array() ? list : nullptr;
}

class Nodes {
 public:
  void add(const Json* list, const char* key, std::optional<double> Node::*figure) {
    if (!list) return;
    for (const auto& entry : *list) {
      const auto name = json_or<std::string>(entry, "node", "");
      const auto [place, fresh] = places_.emplace(name, nodes_.size());
      if (fresh) nodes_.push_back({name, json_or<std::string>(entry, "operation", ""), {}, {}, {}, {}});
      nodes_[place->second].*figure = json_or<double>(entry, key, 0);
    }
  }
  std::vector<Node> take() { return std::move(nodes_); }

 private:
  std::vector<Node> nodes_;
  std::map<std::string, std::size_t> places_;
};

double all_seconds(const std::vector<Node>& nodes) {
  double sum = 0;
  for (const auto& node : nodes) sum += node.seconds.value_or(0);
  return sum;
}

}  // namespace

std::string node_table(const Json& evaluations) {
  Nodes joined;
  joined.add(list_of(evaluations, "latency", "forward_seconds"), "seconds", &Node::seconds);
  joined.add(list_of(evaluations, "size", "macs"), "macs", &Node::macs);
  joined.add(list_of(evaluations, "size", "parameters"), "parameters", &Node::parameters);
  joined.add(list_of(evaluations, "size", "activation_bytes"), "bytes", &Node::bytes);
  std::vector<Node> nodes = joined.take();
  if (nodes.empty()) return "";
  const double seconds = all_seconds(nodes);
  std::stable_sort(nodes.begin(), nodes.end(), [&](const Node& a, const Node& b) {
    return seconds > 0 ? a.seconds.value_or(0) > b.seconds.value_or(0)
                       : a.macs.value_or(0) > b.macs.value_or(0);
  });
  std::vector<std::vector<std::string>> rows{
      {"node", "operation", "time", "", "multiply-adds", "parameters", "values alive"}};
  for (std::size_t i = 0; i < std::min(kShown, nodes.size()); ++i) {
    const Node& node = nodes[i];
    rows.push_back({node.name, node.operation, node.seconds ? format_value(*node.seconds, "s") : "",
                    node.seconds && seconds > 0 ? format_number(100 * *node.seconds / seconds, 1) + " %" : "",
                    node.macs ? format_value(*node.macs, "") : "",
                    node.parameters ? format_value(*node.parameters, "") : "",
                    node.bytes ? format_value(*node.bytes, "bytes") : ""});
  }
  const std::size_t left = nodes.size() - std::min(kShown, nodes.size());
  return table(rows) + (left > 0 ? "and " + std::to_string(left) + " nodes more: --json\n" : "");
}

}  // namespace wring

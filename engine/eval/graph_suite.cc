// The registry of suites for graphs.
#include "engine/eval/graph_suite.h"

#include <map>

#include "common/error.h"

namespace wring {
namespace {

std::map<std::string, GraphSuite>& registry() {
  static std::map<std::string, GraphSuite> suites;
  return suites;
}

}  // namespace

bool register_graph_suite(const char* name, GraphSuite suite) {
  return registry().emplace(name, suite).second;
}

GraphSuite find_graph_suite(const std::string& name) {
  const auto found = registry().find(name);
  if (found == registry().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_SUITE",
                "this engine has no suite '" + name + "' for graphs");
  return found->second;
}

}  // namespace wring

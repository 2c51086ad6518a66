// The registry of methods for graphs.
#include "engine/methods/graph_method.h"

#include <map>

#include "common/error.h"

namespace wring {
namespace {

std::map<std::string, GraphMethodFactory>& registry() {
  static std::map<std::string, GraphMethodFactory> methods;
  return methods;
}

}  // namespace

bool register_graph_method(const char* name, GraphMethodFactory factory) {
  return registry().emplace(name, factory).second;
}

std::unique_ptr<GraphMethod> make_graph_method(const std::string& name, const Params& params) {
  const auto found = registry().find(name);
  if (found == registry().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_METHOD",
                "this engine has no method '" + name + "' for graphs");
  return found->second(params);
}

}  // namespace wring

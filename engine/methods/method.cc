// The registry of compression methods: each adds itself when the program starts.
#include "engine/methods/method.h"

#include <map>

#include "common/error.h"
#include "common/text.h"

namespace wring {
namespace {

std::map<std::string, MethodFactory>& registry() {
  static std::map<std::string, MethodFactory> methods;
  return methods;
}

}  // namespace

at::ScalarType Params::dtype(const char* name) const {
  const auto dtype = get<std::string>(name);
  if (dtype == "float16") return at::kHalf;
  return dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

bool register_method(const char* name, MethodFactory factory) {
  return registry().emplace(name, factory).second;
}

std::vector<std::string> registered_methods() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : registry()) names.push_back(name);
  return names;
}

std::unique_ptr<Method> make_method(const std::string& name, const Params& params) {
  const auto found = registry().find(name);
  if (found != registry().end()) return found->second(params);
  const auto known = registered_methods();
  const std::string nearest = nearest_name(name, known);
  throw Error(ErrorCode::kUnimplemented, "UNKNOWN_METHOD", "this engine has no method '" + name + "'", "",
              nearest.empty() ? "It has " + join(known, ", ") + "." : "Did you mean '" + nearest + "'?");
}

}  // namespace wring

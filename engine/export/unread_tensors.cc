// By name: what stands below a layer is that layer's, in whatever form.
#include "engine/export/unread_tensors.h"

#include <algorithm>
#include <set>

#include "formats/safetensors.h"

namespace wring {
namespace {

bool is_buffer(const std::string& name) {
  return name.ends_with("position_ids") || name.ends_with("inv_freq");
}

// Names with and without what a base class saved alone leaves out ("model.").
std::set<std::string> parts_of(const Model& model) {
  constexpr std::string_view kBase = "model.";
  std::set<std::string> parts{"lm_head"};  // a tied one may be saved twice
  for (const Layer* layer : model.layers()) parts.insert(layer->name());
  for (const auto& parameter : model.parameters()) parts.insert(parameter.name);
  std::set<std::string> all = parts;
  for (const auto& part : parts)
    if (part.starts_with(kBase)) all.insert(part.substr(kBase.size()));
  return all;
}

// "a.b.c.d" is below "a.b".
bool is_below(const std::set<std::string>& parts, const std::string& name) {
  for (auto dot = name.size(); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1))
    if (parts.contains(name.substr(0, dot))) return true;
  return false;
}

}  // namespace

std::vector<std::string> unread_tensors(const Model& model, const FileTree& source) {
  const auto paths = source.paths();
  const bool holds_safetensors = std::any_of(
      paths.begin(), paths.end(), [](const std::string& path) { return path.ends_with(".safetensors"); });
  if (!source.has("config.json") || !holds_safetensors) return {};
  const auto parts = parts_of(model);
  std::vector<std::string> unread = SafetensorsReader(source).names();
  std::erase_if(unread, [&](const std::string& name) { return is_buffer(name) || is_below(parts, name); });
  return unread;
}

}  // namespace wring

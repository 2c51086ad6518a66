// Tells the two bodies apart by their files.
#include "engine/run/body.h"

#include "common/error.h"
#include "engine/graph/graph_file.h"
#include "engine/model/load.h"
#include "formats/model_kind.h"

namespace wring {

Body Body::load(const FileTree& files, at::Device device) {
  return holds_graph(files.paths()) ? Body(load_graph(files, device)) : Body(load_model(files, device));
}

Model& Body::model() const {
  if (!model_) throw Error(ErrorCode::kInternal, "INTERNAL", "a graph where a model of tokens was expected");
  return *model_;
}

Graph& Body::graph() const {
  if (!graph_) throw Error(ErrorCode::kInternal, "INTERNAL", "a model of tokens where a graph was expected");
  return *graph_;
}

std::string Body::kind() const {
  return graph_ ? "graph" : std::string(model_->kind());
}

std::uint64_t Body::stored_bytes() const {
  if (model_) return model_->stored_bytes();
  std::uint64_t bytes = 0;
  for (const auto& parameter : graph_->parameters()) bytes += parameter.value.nbytes();
  for (const auto& [name, value] : graph_->constants()) bytes += value.nbytes();
  return bytes;
}

void Body::check_finite() const {
  if (model_) model_->check_finite();  // a graph was checked when it was read
}

void Body::save(const FileTree& source, const Json& lineage, const std::filesystem::path& folder,
                Durability durability) const {
  if (model_)
    save_model(*model_, source, lineage, folder, durability);
  else
    save_graph(*graph_, source, lineage, folder, durability);
}

Json Body::metadata(const FileTree& source) const {
  if (model_) return model_metadata(*model_, source);
  return {{"format", "onnx"}, {"family", "onnx"}, {"kind", "graph"}};
}

}  // namespace wring

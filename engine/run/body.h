// The model that a job works on, whichever of the two bodies it has: tokens go through it, or it is a graph.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "engine/graph/graph.h"
#include "engine/model/model.h"
#include "formats/file_tree.h"

namespace wring {

// One of both. What asks for the other one is a mistake of the engine's: check_recipe() has refused it.
class Body {
 public:
  // Throws as load_model() and load_graph() do.
  static Body load(const FileTree& files, at::Device device);
  explicit Body(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  explicit Body(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}

  bool is_graph() const { return graph_ != nullptr; }
  Model& model() const;
  Graph& graph() const;

  std::string kind() const;  // "decoder-lm", "encoder", "graph": what specs say they take
  std::uint64_t stored_bytes() const;
  void check_finite() const;

  // As a Wring folder; what travels with the model comes from `source`.
  void save(const FileTree& source, const Json& lineage, const std::filesystem::path& folder,
            Durability durability) const;
  Json metadata(const FileTree& source) const;  // of that folder's manifest

 private:
  std::unique_ptr<Model> model_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace wring

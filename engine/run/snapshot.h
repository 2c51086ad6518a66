// A stage's finished work on disk, so that a job that is started again goes on from there.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/model/weight_rep.h"

namespace wring {

// One stage's folder: named parts, each some tensors with attributes, and a state that says how far the stage
// is. What commit() has taken outlives this process, whenever it dies, but not the machine: then the stage
// starts anew. Without a folder nothing is kept. Where it cannot be written, or the disk would have less than
// `reserve_bytes` left, it says so in the log and keeps nothing more: the stage goes on. One thread.
class Snapshot {
 public:
  struct Part {
    Json attributes;
    std::map<std::string, at::Tensor> tensors;
  };

  Snapshot() = default;
  // Takes up what the folder holds; what is not whole in it is removed.
  explicit Snapshot(std::filesystem::path folder, std::uint64_t reserve_bytes = 0);
  // What another process keeps in the folder, and goes on keeping there; this one adds nothing.
  static Snapshot of_another(std::filesystem::path folder);

  // Whether what is put is kept, by this process or the other one, for all it knows.
  bool keeps() const { return !folder_.empty(); }
  const std::filesystem::path& folder() const { return folder_; }

  // Of the last commit(); nullopt: there was none.
  const std::optional<Json>& state() const { return state_; }
  // Of the last commit(). Throws Error where it is damaged.
  Part part(const std::string& name) const;

  // Where a part lies that was put; empty where it is not kept.
  std::filesystem::path file(const std::string& name) const;

  // Which block or step the stage went on with, as it says; for its report.
  void note_resumed(std::size_t at) { resumed_at_ = at; }
  std::size_t resumed_at() const { return resumed_at_; }

  // Writes a part, which counts from the next commit() on. `name` is a plain file name.
  void put(const std::string& name, const std::vector<NamedTensor>& tensors,
           const Json& attributes = Json::object());
  void commit(Json state);
  void clear();

 private:
  bool take_up();
  template <typename Action>
  void guarded(const Action& write);
  void remove_unnamed() const;

  bool mine_ = true;
  std::filesystem::path folder_;  // empty: keeps nothing
  std::optional<Json> state_;
  Json parts_ = Json::object();  // name -> {"file", "attributes"}
  std::uint64_t commits_ = 0, reserve_bytes_ = 0;
  std::size_t resumed_at_ = 0;
};

}  // namespace wring

// FOLDER/state.json names the state and the files of its parts; it is replaced in one rename.
#include "engine/run/snapshot.h"

#include <set>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/logger.h"
#include "engine/model/tensor_file.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxState = 256u << 20;

}  // namespace

Snapshot::Snapshot(fs::path folder, std::uint64_t reserve_bytes)
    : folder_(std::move(folder)), reserve_bytes_(reserve_bytes) {
  try {
    if (!take_up()) clear();
  } catch (const std::exception& error) {
    log_warning(std::string("the stage's snapshot is damaged and is not taken up: ") + error.what());
    clear();
  }
}

Snapshot Snapshot::of_another(fs::path folder) {
  Snapshot snapshot;
  snapshot.mine_ = false;
  snapshot.folder_ = std::move(folder);
  try {
    snapshot.take_up();
  } catch (const std::exception&) {  // whose it is says so, and removes it
  }
  return snapshot;
}

// Whether there is something of this boot.
bool Snapshot::take_up() {
  if (folder_.empty() || !fs::exists(folder_ / "state.json")) return false;
  const Json record = parse_json(read_file(folder_ / "state.json", kMaxState), "state.json");
  if (json_at<std::string>(record, "boot", "state.json") != boot_id()) return false;
  parts_ = json_at<Json>(record, "parts", "state.json");
  commits_ = json_at<std::uint64_t>(record, "commits", "state.json");
  state_ = json_at<Json>(record, "state", "state.json");
  remove_unnamed();
  return true;
}

Snapshot::Part Snapshot::part(const std::string& name) const {
  const Json entry = json_at<Json>(parts_, name.c_str(), "state.json");
  const SafetensorsReader reader(
      FileTree::on_disk(folder_ / json_at<std::string>(entry, "file", "state.json")));
  Part part{json_at<Json>(entry, "attributes", "state.json"), {}};
  for (const auto& tensor : reader.names()) part.tensors.emplace(tensor, read_tensor(reader, tensor));
  return part;
}

fs::path Snapshot::file(const std::string& name) const {
  return parts_.contains(name) ? folder_ / json_at<std::string>(parts_[name], "file", "state.json")
                               : fs::path();
}

template <typename Action>
void Snapshot::guarded(const Action& write) {
  if (folder_.empty() || !mine_) return;
  try {
    write();
  } catch (const std::exception& error) {
    log_warning(std::string("no more snapshots of this stage: ") + error.what());
    clear();
    folder_.clear();
  }
}

void Snapshot::put(const std::string& name, const std::vector<NamedTensor>& tensors, const Json& attributes) {
  guarded([&] {
    fs::create_directories(folder_);
    std::vector<TensorToWrite> entries;
    std::uint64_t bytes = 0;
    for (const auto& named : tensors) {
      entries.push_back(to_write(named.suffix, named.tensor));
      bytes += named.tensor.nbytes();
    }
    if (fs::space(folder_).available < bytes + reserve_bytes_)
      throw Error(ErrorCode::kResourceExhausted, "DISK_FULL",
                  "the disk has no room beside the stage's output");
    const std::string stem = name + "." + std::to_string(commits_);
    write_safetensors(folder_, stem, entries, {}, UINT64_MAX, Durability::kProcess);
    parts_[name] = {{"file", stem + ".safetensors"}, {"attributes", attributes}};
  });
}

void Snapshot::commit(Json state) {
  guarded([&] {
    fs::create_directories(folder_);
    ++commits_;
    const Json record{{"boot", boot_id()}, {"commits", commits_}, {"parts", parts_}, {"state", state}};
    write_file_atomic(folder_ / "state.json", record.dump(), Durability::kProcess);
    state_ = std::move(state);
    remove_unnamed();
  });
}

void Snapshot::clear() {
  std::error_code ignored;
  if (!folder_.empty() && mine_) fs::remove_all(folder_, ignored);
  state_.reset();
  parts_ = Json::object();
}

// Parts that were replaced, and those of a put() that no commit() followed.
void Snapshot::remove_unnamed() const {
  if (!mine_) return;
  std::set<std::string> named{"state.json"};
  for (const auto& part : parts_) named.insert(json_at<std::string>(part, "file", "state.json"));
  for (const auto& entry : fs::directory_iterator(folder_))
    if (!named.contains(entry.path().filename().string())) fs::remove_all(entry.path());
}

}  // namespace wring

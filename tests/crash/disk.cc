// Bytes are synced file by file, names folder by folder, and a journal keeps the order of names.
#include "tests/crash/disk.h"

#include <algorithm>
#include <fstream>

namespace wring::crash {

namespace fs = std::filesystem;

std::string to_string(const Call& call) {
  const char* const kinds[] = {"create",          "write", "truncate", "fsync",
                               "fsync of folder", "mkdir", "rename",   "remove"};
  std::string text = kinds[static_cast<int>(call.kind)] + (" " + call.path);
  if (!call.to.empty()) text += " to " + call.to;
  if (call.kind == Call::Kind::kWrite)
    text += ", " + std::to_string(call.bytes.size()) + " bytes at " + std::to_string(call.offset);
  return text;
}

std::string Disk::parent(const std::string& path) {
  return fs::path(path).parent_path().string();
}

void Disk::apply_bytes(const Call& call, std::string& bytes) {
  if (call.kind == Call::Kind::kTruncate) return bytes.resize(call.offset);
  bytes.resize(std::max<std::size_t>(bytes.size(), call.offset + call.bytes.size()));
  std::copy(call.bytes.begin(), call.bytes.end(), bytes.begin() + static_cast<std::ptrdiff_t>(call.offset));
}

void Disk::apply_name(const Call& call, Names& names) {
  switch (call.kind) {
    case Call::Kind::kCreate:
      names.files[call.path] = call.file;
      break;
    case Call::Kind::kMakeFolder:
      names.folders[call.path] = true;
      break;
    case Call::Kind::kRename:
      if (const auto node = names.files.extract(call.path)) names.files[call.to] = node.mapped();
      break;
    default:
      names.files.erase(call.path);
      names.folders.erase(call.path);
  }
}

void Disk::apply(const Call& call) {
  switch (call.kind) {
    case Call::Kind::kWrite:
    case Call::Kind::kTruncate: {
      File& file = files_[call.file];
      apply_bytes(call, file.bytes);
      file.writes.push_back(call);
      break;
    }
    case Call::Kind::kSync: {
      File& file = files_[call.file];
      file.synced = file.bytes;
      file.writes.clear();
      break;
    }
    case Call::Kind::kSyncFolder:
      sync_folder(call.path);
      break;
    default:
      if (call.kind == Call::Kind::kCreate) files_.try_emplace(call.file);
      apply_name(call, seen_);
      owed_.push_back(call);
  }
}

// The entries of one folder are on the medium; a journal has whatever was done before, too.
void Disk::sync_folder(const std::string& folder) {
  const auto copy = [&](auto& to, const auto& from) {
    std::erase_if(to, [&](const auto& entry) { return parent(entry.first) == folder; });
    for (const auto& entry : from)
      if (parent(entry.first) == folder) to.insert(entry);
  };
  copy(synced_.files, seen_.files);
  copy(synced_.folders, seen_.folders);
  for (std::size_t i = 0; i < owed_.size(); ++i)
    if (parent(owed_[i].path) == folder || (!owed_[i].to.empty() && parent(owed_[i].to) == folder))
      owed_least_ = std::max(owed_least_, i + 1);
}

void Disk::lose_bytes(File& file, Loss loss, std::mt19937_64& random) const {
  if (loss == Loss::kEverything) file.bytes = file.synced;
  if (loss == Loss::kSome) {
    file.bytes = file.synced;
    for (std::size_t i = 0; i < file.writes.size(); ++i) {
      Call write = file.writes[i];
      if (random() % 2 == 0) continue;
      if (i + 1 == file.writes.size())  // it was under way, sector by sector
        write.bytes.resize(std::min<std::size_t>(write.bytes.size(), random() % 9 * 512));
      apply_bytes(write, file.bytes);
    }
  }
  file.synced = file.bytes;
  file.writes.clear();
}

void Disk::lose_names(Loss loss, std::mt19937_64& random) {
  if (loss == Loss::kSome) {
    const auto kept = owed_least_ + random() % (owed_.size() - owed_least_ + 1);
    seen_ = {};
    for (std::size_t i = 0; i < kept; ++i) apply_name(owed_[i], seen_);
    owed_.resize(kept);
    owed_least_ = kept;
    synced_ = seen_;
  } else {
    seen_ = synced_;
    owed_.clear();
    for (const auto& [path, made] : seen_.folders)
      owed_.push_back({Call::Kind::kMakeFolder, 0, path, "", 0, ""});
    for (const auto& [path, file] : seen_.files)
      owed_.push_back({Call::Kind::kCreate, file, path, "", 0, ""});
    owed_least_ = owed_.size();
  }
}

void Disk::crash(Loss loss, std::mt19937_64& random) {
  if (loss == Loss::kNothing) return;
  lose_names(loss, random);
  for (auto& [number, file] : files_) lose_bytes(file, loss, random);
}

void Disk::write_to(const fs::path& root) const {
  const auto reachable = [&](std::string path) {  // a name in a folder that was lost is lost, too
    while (!(path = parent(path)).empty())
      if (!seen_.folders.contains(path)) return false;
    return true;
  };
  for (const auto& [path, made] : seen_.folders)
    if (reachable(path)) fs::create_directories(root / path);
  for (const auto& [path, file] : seen_.files)
    if (reachable(path)) std::ofstream(root / path, std::ios::binary) << files_.at(file).bytes;
}

std::optional<std::uint64_t> Disk::find(const std::string& path) const {
  const auto it = seen_.files.find(path);
  return it == seen_.files.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace wring::crash

// A disk as a machine that dies would leave it: what was written, what of it was synced, and what may be
// left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace wring::crash {

// One call that changed the files below a root. Paths are relative to it.
struct Call {
  enum class Kind { kCreate, kWrite, kTruncate, kSync, kSyncFolder, kMakeFolder, kRename, kRemove };
  Kind kind;
  std::uint64_t file = 0;    // of kCreate, kWrite, kTruncate, kSync: which one, whatever its name is by now
  std::string path, to;      // of the others; `to`: the new name of kRename
  std::uint64_t offset = 0;  // of kWrite; of kTruncate: the new size
  std::string bytes;
};

std::string to_string(const Call& call);

// What is left of what was not synced.
enum class Loss {
  kNothing,     // all is there: the process died, not the machine
  kEverything,  // only what was synced is there: a file's bytes by its own fsync, its name by its folder's
  kSome,  // names as of some moment since the last sync of a folder; of bytes any writes, the last one torn
};

// Files and folders in two versions: as the processes see them, and as they are on the medium.
class Disk {
 public:
  void apply(const Call& call);
  // The machine or the process died: what was lost is lost for both versions, what is left is on the medium
  // (except with kNothing, where the kernel still owes it).
  void crash(Loss loss, std::mt19937_64& random);
  // Writes the files that processes would see below `root`, an empty folder.
  void write_to(const std::filesystem::path& root) const;
  std::optional<std::uint64_t> find(const std::string& path) const;  // the file with this name
  std::uint64_t next_file() const { return files_.empty() ? 1 : files_.rbegin()->first + 1; }

 private:
  struct File {
    std::string bytes, synced;
    std::vector<Call> writes;  // since the sync
  };
  struct Names {
    std::map<std::string, std::uint64_t> files;  // by path
    std::map<std::string, bool> folders;
  };
  static void apply_name(const Call& call, Names& names);
  static void apply_bytes(const Call& call, std::string& bytes);
  static std::string parent(const std::string& path);
  void sync_folder(const std::string& folder);
  void lose_bytes(File& file, Loss loss, std::mt19937_64& random) const;
  void lose_names(Loss loss, std::mt19937_64& random);

  std::map<std::uint64_t, File> files_;
  Names seen_, synced_;
  std::vector<Call> owed_;      // changes of names, in order, since the medium had them all
  std::size_t owed_least_ = 0;  // a journal has at least so many of them
};

}  // namespace wring::crash

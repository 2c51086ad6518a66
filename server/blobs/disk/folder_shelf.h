// Blobs in a folder: FOLDER/blobs/ab/<64 hex>. The folder may be on another disk than uploads, also one that
// machines share (NFS, Lustre): only renames within it are relied on, and no locks.
#pragma once

#include <filesystem>
#include <mutex>
#include <set>

#include "server/blobs/shelf.h"

namespace wring {

class FolderShelf final : public BlobShelf {
 public:
  // Makes FOLDER/blobs, FOLDER/incoming and FOLDER/corrupt, and forgets what was left in FOLDER/incoming a
  // day ago; to be read alone, nothing.
  FolderShelf(const std::filesystem::path& folder, ShelfUse access);

  bool has(const Digest& digest) const override;
  std::unique_ptr<ShelvedBlob> open(const Digest& digest) const override;
  std::uint64_t size(const Digest& digest) const override;
  std::vector<Digest> all() const override;
  bool renew(const Digest& digest) override;
  void put(const Digest& digest, const std::filesystem::path& part) override;
  std::uint64_t remove_older(const Digest& digest, std::filesystem::file_time_type before) override;
  std::uint64_t forget_unfinished(std::filesystem::file_time_type before) override;
  std::string set_aside(const Digest& digest) override;
  std::string owner() const override;
  void set_owner(const std::string& database) override;

 private:
  std::filesystem::path path_of(const Digest& digest) const;
  void sync_names();
  void set_arriving(const Digest& digest, bool arriving);
  void move_in(const std::filesystem::path& part, const std::filesystem::path& path);
  bool rename_in(const std::filesystem::path& part, const std::filesystem::path& path);

  std::filesystem::path blobs_, incoming_, corrupt_, owner_;
  std::mutex renaming_;  // an age is that of the file which is removed for it
  mutable std::mutex mutex_;
  std::set<Digest> arriving_;  // renamed, and their names not known to be on disk
};

// Calls `sink` with the bytes [begin, end) of `fd`. Returns false where the file ends before, or `sink` says
// so.
bool read_pieces(int fd, const std::filesystem::path& path, std::uint64_t begin, std::uint64_t end,
                 const ByteSink& sink);

// A folder that is there, and stays there when the machine stops.
void make_folder(const std::filesystem::path& path);

std::uint64_t size_of(int fd, const std::filesystem::path& path);

}  // namespace wring

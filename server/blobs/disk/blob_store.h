// Blobs on disk by content: BLOBS/ab/<64 hex>. Whole and verified, or not there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/digest.h"
#include "common/files.h"

namespace wring {

inline constexpr std::uint64_t kMaxBlobBytes = 64ull << 20;

// Any thread may call; two uploads with one id exclude each other (kAborted, "UPLOAD_IN_USE").
class BlobStore {
 public:
  // Makes FOLDER/blobs and FOLDER/uploads. Forgets uploads that are older than a day.
  explicit BlobStore(const std::filesystem::path& folder);

  bool has(const Digest& digest) const;
  std::uint64_t size(const Digest& digest) const;  // throws kNotFound "BLOB_NOT_FOUND"

  // Bytes of an upload that are safe; the whole size where the blob is there.
  std::uint64_t committed_size(const Digest& digest, const std::string& upload_id) const;

  // Reads [offset, offset + limit) (limit 0: to the end) piece by piece. The whole blob is verified first:
  // throws kDataLoss "BLOB_CORRUPT" where the disk no longer holds what was written.
  void read(const Digest& digest, std::uint64_t offset, std::uint64_t limit,
            const std::function<bool(std::span<const std::byte>)>& sink) const;

  // An upload in progress. Destroyed before finish(), what was appended stays for a later one with the same
  // id.
  class Upload {
   public:
    Upload(BlobStore& store, const Digest& digest, std::uint64_t size, std::string upload_id);
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;

    std::uint64_t committed() const { return committed_; }
    // Throws kOutOfRange "WRITE_OFFSET" where offset is not committed(), kInvalidArgument past the size,
    // kResourceExhausted "DISK_FULL".
    void append(std::uint64_t offset, std::span<const std::byte> bytes);
    // Makes the blob visible, durably. Throws kDataLoss "DIGEST_MISMATCH" (and forgets the upload).
    void finish();

   private:
    BlobStore& store_;
    Digest digest_;
    std::uint64_t size_, committed_ = 0;
    std::string upload_id_;
    std::filesystem::path part_;
    FileDescriptor fd_;
    Sha256 hash_;
  };

 private:
  std::filesystem::path path_of(const Digest& digest) const;
  std::filesystem::path part_of(const Digest& digest, const std::string& upload_id) const;

  std::filesystem::path blobs_, uploads_;
  std::mutex mutex_;
  std::set<std::string> in_use_;
};

}  // namespace wring

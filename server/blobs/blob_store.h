// Blobs by content, wherever they lie (shelf.h). Whole, verified and durable, or not there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/digest.h"
#include "common/files.h"
#include "server/blobs/shelf.h"

namespace wring {

// Throws kInvalidArgument "BAD_UPLOAD_ID" unless it is 1 to 64 letters, digits and dashes.
void check_upload_id(const std::string& upload_id);

// Any thread may call. Two uploads with one id exclude each other.
class BlobStore {
 public:
  // Makes FOLDER/uploads, and forgets old ones. Blobs lie where FOLDER/blobs.yaml says, or in FOLDER.
  explicit BlobStore(const std::filesystem::path& folder);

  // Makes sure that the blobs are those of the job database of that id, so that no other one's collector
  // deletes them. Blobs that are nobody's become its own, unless it `is_new`. Throws
  // Error(kFailedPrecondition, "BLOBS_OF_ANOTHER").
  void claim_place(const std::string& database, bool is_new);

  bool has(const Digest& digest) const;
  // The same for who counts on the blob from now on: it is as young as one just written.
  bool renew(const Digest& digest);
  std::vector<Digest> all() const;                 // of all blobs that are there
  std::uint64_t size(const Digest& digest) const;  // throws kNotFound "BLOB_NOT_FOUND"

  // Bytes of an upload that are on disk; the whole size where the blob is there. Falls (to 0) only where the
  // upload was forgotten: it turned out not to be the blob, or the disk was full.
  std::uint64_t committed_size(const Digest& digest, const std::string& upload_id) const;

  // The same where it does not count whether the blob is there.
  std::uint64_t part_size(const Digest& digest, const std::string& upload_id) const;

  // Bytes of all uploads whose ids begin so, but for this one.
  std::uint64_t part_bytes(const std::string& id_prefix, const Digest& digest,
                           const std::string& upload_id) const;

  // Reads [offset, offset + limit) (limit 0: to the end) piece by piece, until `sink` returns false. What is
  // read in part is verified before; what is read whole, on the way. Throws kDataLoss "BLOB_CORRUPT" where
  // its place no longer holds what was written; the blob is then set aside, so that it can be uploaded again.
  void read(const Digest& digest, std::uint64_t offset, std::uint64_t limit, const ByteSink& sink);

  // Of the volume where uploads grow.
  std::filesystem::space_info disk() const { return std::filesystem::space(uploads_); }

  // Deletes the blob where nothing has written, renewed or claimed it since `before`. Returns its bytes; 0
  // where it stays.
  std::uint64_t remove_unused(const Digest& digest, std::filesystem::file_time_type before);
  // Forgets uploads in which nobody is and to which nothing was added for a day.
  void forget_old_uploads();
  // And what was on its way to where blobs lie, begun before, when its process was killed. Returns how many.
  std::uint64_t forget_unfinished(std::filesystem::file_time_type before);

  // While it lives its blobs are not deleted; from its end on they are young.
  class Claim {
   public:
    Claim(BlobStore& store, std::set<Digest> digests);
    ~Claim();
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

   private:
    BlobStore& store_;
    std::set<Digest> digests_;
  };

  // An upload in progress, at FOLDER/uploads/<digest>.<upload_id>.part. Destroyed before finish(), what was
  // appended stays for a later one with the same id.
  class Upload {
   public:
    // Waits for another upload with this id to end (a stream whose client is gone); throws kUnavailable
    // "UPLOAD_IN_USE" where it does not within 5 s.
    Upload(BlobStore& store, const Digest& digest, std::uint64_t size, const std::string& upload_id);
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;

    std::uint64_t committed() const { return committed_; }
    // Throws kOutOfRange "WRITE_OFFSET" where offset is not committed(), kInvalidArgument "BLOB_SIZE" past
    // the size, kResourceExhausted "DISK_FULL".
    void append(std::uint64_t offset, std::span<const std::byte> bytes);
    // Makes the blob visible, durably. Throws kInvalidArgument "BLOB_SIZE" before its end, kDataLoss
    // "DIGEST_MISMATCH" (and forgets the upload).
    void finish();

   private:
    void open();
    void forget();

    BlobStore& store_;
    Digest digest_;
    std::uint64_t size_, committed_ = 0;
    std::filesystem::path part_;
    FileDescriptor fd_;
    Sha256 hash_;
  };

 private:
  std::filesystem::path part_of(const Digest& digest, const std::string& upload_id) const;

  std::filesystem::path uploads_;
  std::unique_ptr<BlobShelf> shelf_;
  mutable std::mutex mutex_;
  std::condition_variable released_;
  std::set<std::filesystem::path> in_use_;  // part files
  std::mutex removal_;                      // between a look at a blob's age and its deletion
  std::multiset<Digest> claimed_;
};

}  // namespace wring

// The blob store as one project sees it: what it has uploaded, or what its artifacts are made of.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "server/blobs/blob_store.h"
#include "server/store/job_store.h"

namespace wring {

// A blob that another project has is not there, and cannot be told from one that nobody has. Without a
// project (an admin, a server without tokens) all blobs are there. Any thread may call.
class TenantBlobs {
 public:
  // `limited`: by the project's quota of bytes. Results of its jobs are not.
  TenantBlobs(BlobStore& blobs, JobStore& store, Within project, bool limited = true)
      : blobs_(blobs), store_(store), project_(std::move(project)), limited_(limited) {}

  const Within& project() const { return project_; }
  bool has(const Digest& digest, std::uint64_t size) const;
  // Those that are not there, in order; the others are kept for one more grace period.
  std::vector<Digest> missing(const std::vector<Digest>& digests) const;
  // As BlobStore::committed_size().
  std::uint64_t committed_size(const Digest& digest, const std::string& upload_id) const;
  // Throws kNotFound "BLOB_NOT_FOUND"; else as BlobStore::read().
  void read(const Digest& digest, std::uint64_t offset, std::uint64_t limit,
            const std::function<bool(std::span<const std::byte>)>& sink) const;

  // Throws kResourceExhausted "QUOTA_BYTES" where the project may not have so many bytes more.
  void check_room(std::uint64_t bytes) const;
  // The project's own upload, apart from those of others that have the same id. Throws as check_room(), where
  // uploads that were begun count, too.
  BlobStore::Upload upload(const Digest& digest, std::uint64_t size, const std::string& upload_id) const;
  // A blob that was uploaded is the project's from now on. Throws as check_room().
  void add(const Digest& digest, std::uint64_t size) const;

  BlobStore::Claim claim(std::set<Digest> digests) const { return {blobs_, std::move(digests)}; }

 private:
  std::string own(const std::string& upload_id) const;
  std::string own_prefix() const;
  bool is_limited() const;

  BlobStore& blobs_;
  JobStore& store_;
  Within project_;
  bool limited_;
};

// Bytes of the project's blobs, and how many it may have (0: no limit).
std::pair<std::uint64_t, std::uint64_t> bytes_of(Connection& db, const std::string& project);
[[noreturn]] void throw_over_bytes(const std::string& project, std::uint64_t bytes, std::uint64_t most);

// Takes from projects the blobs that none of their artifacts and shared stages is made of and that nobody has
// uploaded or asked for in `grace`.
void forget_unused_blobs(JobStore& store, TimeMs grace);

}  // namespace wring

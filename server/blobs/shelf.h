// Where whole blobs lie: a folder, or a bucket. What is not whole yet, who uses what, and whether the bytes
// are still those of the digest is the BlobStore's to know.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/digest.h"

namespace wring {

inline constexpr std::uint64_t kMaxBlobBytes = 64ull << 20;

using ByteSink = std::function<bool(std::span<const std::byte>)>;

// A blob as it lies there, also where it was deleted meanwhile.
class ShelvedBlob {
 public:
  virtual ~ShelvedBlob() = default;
  virtual std::uint64_t size() const = 0;
  // Calls `sink` with the bytes [begin, end), piece by piece. Returns false where it ends before, or `sink`
  // says so.
  virtual bool read(std::uint64_t begin, std::uint64_t end, const ByteSink& sink) const = 0;
};

// Any thread may call. Throws Error: kUnavailable where the place cannot be reached, kResourceExhausted
// "DISK_FULL".
class BlobShelf {
 public:
  virtual ~BlobShelf() = default;
  virtual bool has(const Digest& digest) const = 0;
  virtual std::unique_ptr<ShelvedBlob> open(const Digest& digest) const = 0;  // nullptr where it is not there
  virtual std::uint64_t size(const Digest& digest) const = 0;  // throws kNotFound "BLOB_NOT_FOUND"
  virtual std::vector<Digest> all() const = 0;                 // files of other names are passed over
  // The blob is as young as one just written; false where it is not there.
  virtual bool renew(const Digest& digest) = 0;
  // Takes in a file on this machine that is whole and on its disk: durable when this returns. The file is
  // gone then.
  virtual void put(const Digest& digest, const std::filesystem::path& part) = 0;
  // Deletes the blob unless it was written or renewed since. Returns its bytes; 0 where it stays.
  virtual std::uint64_t remove_older(const Digest& digest, std::filesystem::file_time_type before) = 0;
  // Gives up what put() began before and did not end, as its process was killed. Returns how many blobs.
  virtual std::uint64_t forget_unfinished(std::filesystem::file_time_type before) = 0;
  // Takes a damaged blob away, to a place where people find it. Returns that place.
  virtual std::string set_aside(const Digest& digest) = 0;
  // The job database that the blobs belong to, by its id; empty where none has been written. And that, where
  // none has: of two at once, one stays.
  virtual std::string owner() const = 0;
  virtual void set_owner(const std::string& database) = 0;
};

[[noreturn]] void throw_blob_not_found(const Digest& digest);

// A digest's name is its 64 digits; nullopt for any other.
std::optional<Digest> digest_named(const std::string& name);

enum class ShelfUse { kRead, kWrite };

// The place that DATA/blobs.yaml names (docs/operations.md); DATA itself where there is no such file. Throws
// Error(kInvalidArgument) that names the key.
std::unique_ptr<BlobShelf> open_shelf(const std::filesystem::path& data, ShelfUse access = ShelfUse::kWrite);

}  // namespace wring

// Blobs on disk: written to a part file, hashed on the way, fsynced and renamed.
#include "server/blobs/disk/blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <utility>

#include "common/error.h"

namespace wring {

namespace fs = std::filesystem;

BlobStore::BlobStore(const fs::path& folder) : blobs_(folder / "blobs"), uploads_(folder / "uploads") {
  fs::create_directories(blobs_);
  fs::create_directories(uploads_);
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const auto& entry : fs::directory_iterator(uploads_)) {
    std::error_code ignored;
    if (entry.last_write_time(ignored) < yesterday) fs::remove(entry.path(), ignored);
  }
}

fs::path BlobStore::path_of(const Digest& digest) const {
  const auto hex = digest.hex();
  return blobs_ / hex.substr(0, 2) / hex;
}

fs::path BlobStore::part_of(const Digest& digest, const std::string& upload_id) const {
  const auto safe = [](unsigned char c) { return std::isalnum(c) || c == '-'; };
  if (upload_id.empty() || upload_id.size() > 64 || !std::all_of(upload_id.begin(), upload_id.end(), safe))
    throw Error(ErrorCode::kInvalidArgument, "BAD_UPLOAD_ID",
                "an upload id is 1 to 64 letters, digits and dashes", "upload_id", "Take a UUID.");
  return uploads_ / (digest.hex() + "." + upload_id + ".part");
}

bool BlobStore::has(const Digest& digest) const {
  std::error_code ignored;
  return fs::is_regular_file(path_of(digest), ignored);
}

std::uint64_t BlobStore::size(const Digest& digest) const {
  std::error_code failed;
  const auto bytes = fs::file_size(path_of(digest), failed);
  if (failed)
    throw Error(ErrorCode::kNotFound, "BLOB_NOT_FOUND", "there is no blob " + digest.hex(), "digest");
  return bytes;
}

std::uint64_t BlobStore::committed_size(const Digest& digest, const std::string& upload_id) const {
  if (has(digest)) return size(digest);
  std::error_code failed;
  const auto bytes = fs::file_size(part_of(digest, upload_id), failed);
  return failed ? 0 : bytes;
}

void BlobStore::read(const Digest& digest, std::uint64_t offset, std::uint64_t limit,
                     const std::function<bool(std::span<const std::byte>)>& sink) const {
  const auto whole = size(digest);
  const auto mapped = MappedFile::open(path_of(digest));
  if (sha256(mapped->bytes()) != digest)
    throw Error(ErrorCode::kDataLoss, "BLOB_CORRUPT",
                "blob " + digest.hex() + " is damaged on the server's disk", "digest",
                "Upload it again, or restore a backup.");
  if (offset > whole)
    throw Error(ErrorCode::kOutOfRange, "READ_OFFSET", "the blob has " + std::to_string(whole) + " bytes",
                "offset");
  const auto end = limit == 0 ? whole : std::min(whole, offset + std::min(limit, whole));
  for (constexpr std::uint64_t kPiece = 1u << 20; offset < end;) {
    const auto count = std::min(kPiece, end - offset);
    if (!sink(mapped->bytes().subspan(offset, count))) return;
    offset += count;
  }
}

BlobStore::Upload::Upload(BlobStore& store, const Digest& digest, std::uint64_t size, std::string upload_id)
    : store_(store),
      digest_(digest),
      size_(size),
      upload_id_(std::move(upload_id)),
      part_(store.part_of(digest, upload_id_)) {
  if (size < 1 || size > kMaxBlobBytes)
    throw Error(ErrorCode::kInvalidArgument, "BLOB_SIZE", std::to_string(size) + " is not in 1 to 64 MiB",
                "size", "Cut larger files into chunks.");
  {
    const std::lock_guard lock(store_.mutex_);
    if (!store_.in_use_.insert(part_.string()).second)
      throw Error(ErrorCode::kAborted, "UPLOAD_IN_USE", "another stream writes this upload", "upload_id",
                  "Wait for it, or take a new upload id.");
  }
  try {
    fd_ = FileDescriptor(::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd_) throw_io_error("create", part_, errno);
    const auto before = MappedFile::open(part_);
    if (before->bytes().size() > size)
      throw Error(ErrorCode::kInvalidArgument, "BLOB_SIZE", "an earlier stream of this upload was longer",
                  "size");
    hash_.update(before->bytes());
    committed_ = before->bytes().size();
    ::lseek(fd_.get(), 0, SEEK_END);
  } catch (...) {
    const std::lock_guard lock(store_.mutex_);
    store_.in_use_.erase(part_.string());
    throw;
  }
}

BlobStore::Upload::~Upload() {
  const std::lock_guard lock(store_.mutex_);
  store_.in_use_.erase(part_.string());
}

void BlobStore::Upload::append(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset != committed_)
    throw Error(
        ErrorCode::kOutOfRange, "WRITE_OFFSET",
        "offset " + std::to_string(offset) + " is not the committed size " + std::to_string(committed_),
        "write_offset", "Ask QueryWriteStatus and go on from there.");
  if (bytes.size() > size_ - committed_)
    throw Error(ErrorCode::kInvalidArgument, "BLOB_SIZE", "more bytes than the blob's size", "data");
  try {
    write_all(fd_.get(), bytes, part_);
  } catch (...) {  // a part of it may be on disk: back to what was committed
    [[maybe_unused]] const int cut = ::ftruncate(fd_.get(), static_cast<off_t>(committed_));
    throw;
  }
  hash_.update(bytes);
  committed_ += bytes.size();
}

void BlobStore::Upload::finish() {
  if (committed_ != size_)
    throw Error(
        ErrorCode::kInvalidArgument, "BLOB_SIZE",
        "the stream ended at " + std::to_string(committed_) + " of " + std::to_string(size_) + " bytes",
        "size");
  if (hash_.finish() != digest_) {
    fs::remove(part_);
    throw Error(ErrorCode::kDataLoss, "DIGEST_MISMATCH", "the bytes are not those of digest " + digest_.hex(),
                "digest", "Hash the file again: it changed while it was sent.");
  }
  if (::fsync(fd_.get()) != 0) throw_io_error("fsync", part_, errno);
  const auto path = store_.path_of(digest_);
  fs::create_directories(path.parent_path());
  fs::rename(part_, path);
  sync_path(path.parent_path());
}

}  // namespace wring

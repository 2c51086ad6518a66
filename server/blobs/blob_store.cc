// Uploads grow in part files, hashed on the way, and go to the shelf whole.
#include "server/blobs/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/log.h"
#include "server/blobs/disk/folder_shelf.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr auto kPatience = std::chrono::seconds(5);

// Blobs leave room for the job database, which lies on the same disk: 64 MiB, on a small disk a sixteenth of
// it.
void check_space(const fs::path& part, std::uint64_t bytes) {
  const auto space = fs::space(part.parent_path());
  if (space.available < bytes + std::min<std::uint64_t>(64ull << 20, space.capacity / 16))
    throw_io_error("write", part, ENOSPC);
}

}  // namespace

void check_upload_id(const std::string& upload_id) {
  const auto safe = [](unsigned char c) { return std::isalnum(c) || c == '-'; };
  if (upload_id.empty() || upload_id.size() > 64 || !std::all_of(upload_id.begin(), upload_id.end(), safe))
    throw Error(ErrorCode::kInvalidArgument, "BAD_UPLOAD_ID",
                "an upload id is 1 to 64 letters, digits and dashes", "upload_id", "Take a UUID.");
}

BlobStore::BlobStore(const fs::path& folder) : uploads_(folder / "uploads"), shelf_(open_shelf(folder)) {
  make_folder(uploads_);
  forget_old_uploads();
}

void BlobStore::claim_place(const std::string& database, bool is_new) {
  std::string owner = shelf_->owner();
  while (!owner.empty() && std::isspace(static_cast<unsigned char>(owner.back()))) owner.pop_back();
  if (owner.empty() && !(is_new && !shelf_->all().empty())) {
    shelf_->set_owner(database);
    owner = shelf_->owner();
  }
  if (owner == database) return;
  throw Error(ErrorCode::kFailedPrecondition, "BLOBS_OF_ANOTHER",
              owner.empty()
                  ? "the job database is empty, and there are blobs, which it would delete"
                  : "the blobs belong to the job database " + owner + ", and this one is " + database,
              "blobs.yaml",
              "Does database.yaml lack in this data folder? Where the blobs' own database is gone for good, "
              "write " +
                  database + " into the file or object 'owner' that lies beside 'blobs'.");
}

void BlobStore::forget_old_uploads() {
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const auto& entry : fs::directory_iterator(uploads_)) {
    const std::lock_guard lock(mutex_);
    std::error_code ignored;
    if (!in_use_.contains(entry.path()) && entry.last_write_time(ignored) < yesterday)
      fs::remove(entry.path(), ignored);
  }
}

std::uint64_t BlobStore::forget_unfinished(fs::file_time_type before) {
  return shelf_->forget_unfinished(before);
}

fs::path BlobStore::part_of(const Digest& digest, const std::string& upload_id) const {
  check_upload_id(upload_id);
  return uploads_ / (digest.hex() + "." + upload_id + ".part");
}

bool BlobStore::has(const Digest& digest) const {
  return shelf_->has(digest);
}

bool BlobStore::renew(const Digest& digest) {
  const std::lock_guard lock(removal_);
  return shelf_->renew(digest);
}

std::uint64_t BlobStore::remove_unused(const Digest& digest, fs::file_time_type before) {
  const std::lock_guard lock(removal_);
  return claimed_.contains(digest) ? 0 : shelf_->remove_older(digest, before);
}

BlobStore::Claim::Claim(BlobStore& store, std::set<Digest> digests)
    : store_(store), digests_(std::move(digests)) {
  const std::lock_guard lock(store_.removal_);
  store_.claimed_.insert(digests_.begin(), digests_.end());
}

BlobStore::Claim::~Claim() {
  for (const auto& digest : digests_) {
    try {
      store_.renew(digest);
    } catch (const Error& error) {
      spdlog::error("blob {} may be taken for unused: {}", digest.hex(), error.message());
    }
  }
  const std::lock_guard lock(store_.removal_);
  for (const auto& digest : digests_) store_.claimed_.erase(store_.claimed_.find(digest));
}

std::vector<Digest> BlobStore::all() const {
  return shelf_->all();
}

std::uint64_t BlobStore::size(const Digest& digest) const {
  return shelf_->size(digest);
}

std::uint64_t BlobStore::committed_size(const Digest& digest, const std::string& upload_id) const {
  check_upload_id(upload_id);
  return has(digest) ? size(digest) : part_size(digest, upload_id);
}

std::uint64_t BlobStore::part_size(const Digest& digest, const std::string& upload_id) const {
  const auto part = part_of(digest, upload_id);
  const FileDescriptor fd(::open(part.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return 0;
  const auto bytes = size_of(fd.get(), part);
  if (::fsync(fd.get()) != 0) throw_io_error("fsync", part, errno);
  return bytes;
}

std::uint64_t BlobStore::part_bytes(const std::string& id_prefix, const Digest& digest,
                                    const std::string& upload_id) const {
  const auto own = part_of(digest, upload_id);
  const auto begin = digest.hex().size() + 1;
  std::uint64_t bytes = 0;
  for (const auto& part : fs::directory_iterator(uploads_)) {
    if (part.path() == own ||
        part.path().filename().string().compare(begin, id_prefix.size(), id_prefix) != 0)
      continue;
    std::error_code gone;
    const auto size = part.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

void BlobStore::read(const Digest& digest, std::uint64_t offset, std::uint64_t limit, const ByteSink& sink) {
  const auto blob = shelf_->open(digest);
  if (!blob) throw_blob_not_found(digest);
  const auto whole = blob->size();
  if (offset > whole)
    throw Error(ErrorCode::kOutOfRange, "READ_OFFSET", "the blob has " + std::to_string(whole) + " bytes",
                "offset");
  const auto end = limit == 0 ? whole : offset + std::min(limit, whole - offset);
  const bool in_part = offset > 0 || end < whole;

  Sha256 hash;
  bool wanted = true;
  const bool complete = blob->read(0, whole, [&](std::span<const std::byte> piece) {
    hash.update(piece);
    return in_part || (wanted = sink(piece));
  });
  if (!wanted) return;
  if (!complete || hash.finish() != digest) {
    spdlog::error("blob {} is damaged; set aside in {}", digest.hex(), shelf_->set_aside(digest));
    throw Error(ErrorCode::kDataLoss, "BLOB_CORRUPT",
                "blob " + digest.hex() + " is damaged on the server's disk", "digest",
                "wring put of the same file uploads it again, or restore a backup; wring-server fsck names "
                "all that is damaged.");
  }
  if (in_part) blob->read(offset, end, sink);
}

BlobStore::Upload::Upload(BlobStore& store, const Digest& digest, std::uint64_t size,
                          const std::string& upload_id)
    : store_(store), digest_(digest), size_(size), part_(store.part_of(digest, upload_id)) {
  if (size < 1 || size > kMaxBlobBytes)
    throw Error(ErrorCode::kInvalidArgument, "BLOB_SIZE", std::to_string(size) + " is not in 1 to 64 MiB",
                "size", "Cut larger files into chunks.");
  {
    std::unique_lock lock(store_.mutex_);
    if (!store_.released_.wait_for(lock, kPatience, [&] { return store_.in_use_.insert(part_).second; }))
      throw Error(ErrorCode::kUnavailable, "UPLOAD_IN_USE", "another stream writes this upload", "upload_id",
                  "Wait for it, or take a new upload id.");
  }
  try {
    open();
  } catch (...) {
    const std::lock_guard lock(store_.mutex_);
    store_.in_use_.erase(part_);
    throw;
  }
}

// Takes up what an earlier stream left.
void BlobStore::Upload::open() {
  fd_ = FileDescriptor(::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd_) throw_io_error("create", part_, errno);
  const auto before = size_of(fd_.get(), part_);
  if (before > size_)
    throw Error(ErrorCode::kInvalidArgument, "BLOB_SIZE", "an earlier stream of this upload was longer",
                "size");
  read_pieces(fd_.get(), part_, 0, before, [&](std::span<const std::byte> piece) {
    hash_.update(piece);
    committed_ += piece.size();
    return true;
  });
  if (::lseek(fd_.get(), static_cast<off_t>(committed_), SEEK_SET) < 0)
    throw_io_error("seek in", part_, errno);
}

BlobStore::Upload::~Upload() {
  {
    const std::lock_guard lock(store_.mutex_);
    store_.in_use_.erase(part_);
  }
  store_.released_.notify_all();
}

void BlobStore::Upload::forget() {
  std::error_code ignored;
  fs::remove(part_, ignored);
  fd_.reset();
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
    check_space(part_, bytes.size());
    write_all(fd_.get(), bytes, part_);
  } catch (const Error& error) {
    const auto end =
        static_cast<off_t>(committed_);  // a part of it may be on disk: back to what was committed
    if (::ftruncate(fd_.get(), end) != 0 || ::lseek(fd_.get(), end, SEEK_SET) < 0) fd_.reset();
    if (error.reason() == "DISK_FULL") forget();
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
        "size", "Go on from the committed size.");
  if (hash_.finish() != digest_) {
    forget();
    throw Error(ErrorCode::kDataLoss, "DIGEST_MISMATCH", "the bytes are not those of digest " + digest_.hex(),
                "digest", "Hash the file again: it changed while it was sent.");
  }
  if (::futimens(fd_.get(), nullptr) != 0) throw_io_error("touch", part_, errno);  // its age counts from here
  if (::fsync(fd_.get()) != 0) throw_io_error("fsync", part_, errno);
  store_.shelf_->put(digest_, part_);
}

}  // namespace wring

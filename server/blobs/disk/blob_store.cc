// Blobs on disk: written to a part file, hashed on the way, fsynced and renamed.
#include "server/blobs/disk/blob_store.h"

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

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPiece = 1u << 20;
constexpr auto kPatience = std::chrono::seconds(5);

// A folder that is there, and stays there when the machine stops.
void make_folder(const fs::path& path) {
  if (fs::is_directory(path)) return;
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw_io_error("create", path, errno);
  sync_path(path.parent_path());
}

// Calls `sink` with the bytes [begin, end) of `fd`. Returns false where the file ends before, or `sink` says
// so.
bool read_pieces(int fd, const fs::path& path, std::uint64_t begin, std::uint64_t end,
                 const std::function<bool(std::span<const std::byte>)>& sink) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kPiece, end - begin)));
  while (begin < end) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - begin));
    const ssize_t n = ::pread(fd, buffer.data(), count, static_cast<off_t>(begin));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io_error("read", path, errno);
    if (n == 0 || !sink(std::span(buffer).first(static_cast<std::size_t>(n)))) return false;
    begin += static_cast<std::uint64_t>(n);
  }
  return true;
}

std::uint64_t size_of(int fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_io_error("stat", path, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

// Blobs leave room for the job database, which lies on the same disk: 64 MiB, on a small disk a sixteenth of
// it.
void check_space(const fs::path& part, std::uint64_t bytes) {
  const auto space = fs::space(part.parent_path());
  if (space.available < bytes + std::min<std::uint64_t>(64ull << 20, space.capacity / 16))
    throw_io_error("write", part, ENOSPC);
}

}  // namespace

void throw_blob_not_found(const Digest& digest) {
  throw Error(ErrorCode::kNotFound, "BLOB_NOT_FOUND", "there is no blob " + digest.hex(), "digest",
              "wring put of the same file uploads it again; wring-server fsck names what lacks blobs.");
}

void check_upload_id(const std::string& upload_id) {
  const auto safe = [](unsigned char c) { return std::isalnum(c) || c == '-'; };
  if (upload_id.empty() || upload_id.size() > 64 || !std::all_of(upload_id.begin(), upload_id.end(), safe))
    throw Error(ErrorCode::kInvalidArgument, "BAD_UPLOAD_ID",
                "an upload id is 1 to 64 letters, digits and dashes", "upload_id", "Take a UUID.");
}

BlobStore::BlobStore(const fs::path& folder)
    : blobs_(folder / "blobs"), uploads_(folder / "uploads"), corrupt_(folder / "corrupt") {
  for (const auto& path : {blobs_, uploads_, corrupt_}) make_folder(path);
  sync_names();
  forget_old_uploads();
}

// A process that was killed may have made folders and renamed blobs without this.
void BlobStore::sync_names() {
  for (const auto& entry : fs::directory_iterator(blobs_))
    if (entry.is_directory()) sync_path(entry.path());
  sync_path(blobs_);
  sync_path(blobs_.parent_path());
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

void BlobStore::set_arriving(const Digest& digest, bool arriving) {
  const std::lock_guard lock(mutex_);
  if (arriving)
    arriving_.insert(digest);
  else
    arriving_.erase(digest);
}

fs::path BlobStore::path_of(const Digest& digest) const {
  const auto hex = digest.hex();
  return blobs_ / hex.substr(0, 2) / hex;
}

fs::path BlobStore::part_of(const Digest& digest, const std::string& upload_id) const {
  check_upload_id(upload_id);
  return uploads_ / (digest.hex() + "." + upload_id + ".part");
}

bool BlobStore::has(const Digest& digest) const {
  {
    const std::lock_guard lock(mutex_);
    if (arriving_.contains(digest)) return false;
  }
  std::error_code ignored;
  return fs::is_regular_file(path_of(digest), ignored);
}

bool BlobStore::renew(const Digest& digest) {
  const std::lock_guard lock(removal_);
  if (!has(digest)) return false;
  const auto path = path_of(digest);
  if (::utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0) return true;
  if (errno != ENOENT) throw_io_error("touch", path, errno);
  return false;
}

std::uint64_t BlobStore::remove_unused(const Digest& digest, fs::file_time_type before) {
  const std::lock_guard lock(removal_);
  std::error_code gone;
  const auto path = path_of(digest);
  const auto written = fs::last_write_time(path, gone);
  if (gone || written >= before || claimed_.contains(digest)) return 0;
  const auto bytes = fs::file_size(path, gone);
  return !gone && fs::remove(path) ? bytes : 0;
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
  std::vector<Digest> digests;
  for (const auto& entry : fs::recursive_directory_iterator(blobs_)) {
    const auto name = entry.path().filename().string();
    const bool is_digest = name.size() == 64 && name.find_first_not_of("0123456789abcdef") == name.npos;
    if (is_digest && path_of(Digest::parse(name)) == entry.path()) digests.push_back(Digest::parse(name));
  }
  return digests;
}

std::uint64_t BlobStore::size(const Digest& digest) const {
  std::error_code failed;
  const auto bytes = fs::file_size(path_of(digest), failed);
  if (failed) throw_blob_not_found(digest);
  return bytes;
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

void BlobStore::read(const Digest& digest, std::uint64_t offset, std::uint64_t limit,
                     const std::function<bool(std::span<const std::byte>)>& sink) {
  const auto path = path_of(digest);
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) throw_blob_not_found(digest);
  if (!fd) throw_io_error("open", path, errno);
  const auto whole = size_of(fd.get(), path);
  if (offset > whole)
    throw Error(ErrorCode::kOutOfRange, "READ_OFFSET", "the blob has " + std::to_string(whole) + " bytes",
                "offset");
  const auto end = limit == 0 ? whole : offset + std::min(limit, whole - offset);
  const bool in_part = offset > 0 || end < whole;

  Sha256 hash;
  bool wanted = true;
  const bool complete = read_pieces(fd.get(), path, 0, whole, [&](std::span<const std::byte> piece) {
    hash.update(piece);
    return in_part || (wanted = sink(piece));
  });
  if (!wanted) return;
  if (!complete || hash.finish() != digest) {
    set_aside(digest);
    throw Error(ErrorCode::kDataLoss, "BLOB_CORRUPT",
                "blob " + digest.hex() + " is damaged on the server's disk", "digest",
                "wring put of the same file uploads it again, or restore a backup; wring-server fsck names "
                "all that is "
                "damaged.");
  }
  if (in_part) read_pieces(fd.get(), path, offset, end, sink);
}

void BlobStore::set_aside(const Digest& digest) {
  spdlog::error("blob {} is damaged on disk; set aside in {}", digest.hex(), corrupt_.string());
  std::error_code ignored;
  fs::rename(path_of(digest), corrupt_ / digest.hex(), ignored);
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
  const auto path = store_.path_of(digest_);
  make_folder(path.parent_path());
  const bool is_new = !store_.has(digest_);
  if (is_new) store_.set_arriving(digest_, true);
  if (::rename(part_.c_str(), path.c_str()) != 0) {
    const int error_number = errno;
    if (is_new) store_.set_arriving(digest_, false);
    throw_io_error("rename", path, error_number);
  }
  sync_path(path.parent_path());
  if (is_new) store_.set_arriving(digest_, false);
}

}  // namespace wring

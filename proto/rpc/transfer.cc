// Blob streams that are opened again where they broke, and the small pool that runs several of them.
#include "proto/rpc/transfer.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/ids.h"
#include "proto/rpc/backoff.h"
#include "proto/rpc/status.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::uint64_t kMaxBlobBytes = 64u << 20;
constexpr std::size_t kDigestsACall = 10'000;
constexpr int kMaxCommits = 4;
constexpr auto kStreamSeconds = std::chrono::seconds(120);  // then it is opened again where it stands

void check_stop(const TransferOptions& options) {
  if (options.stop && options.stop())
    throw Error(ErrorCode::kCancelled, "STOPPED", "the transfer was stopped");
}

// Decides after each break whether to go on, and waits. Moved bytes start it anew.
class Patience {
 public:
  explicit Patience(const TransferOptions& options) : options_(options) {}

  void after(const grpc::Status& status, bool moved) {
    const Error error = from_status(status);
    if (!is_away(error)) throw error;
    if (moved) renew();
    if (watch_.seconds() > options_.patience_seconds) throw error;
    const double wait = backoff_.next_seconds();
    const Stopwatch waited;
    do {
      check_stop(options_);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } while (waited.seconds() < wait);
  }

  void renew() {
    watch_ = Stopwatch();
    backoff_.reset();
  }

 private:
  const TransferOptions& options_;
  Stopwatch watch_;
  Backoff backoff_;
};

void set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kStreamSeconds);
}

// Sends `bytes` from `offset` on. Returns how the stream ended; `committed` is what the server says it has.
grpc::Status send_from(v1::Artifacts::StubInterface& stub, const Digest& digest,
                       std::span<const std::byte> bytes, const std::string& upload_id, std::uint64_t offset,
                       const TransferOptions& options, std::uint64_t& committed) {
  grpc::ClientContext context;
  set_deadline(context);
  v1::WriteBlobResponse response;
  const auto writer = stub.WriteBlob(&context, &response);
  v1::WriteBlobRequest request;
  request.set_digest(digest.hex());
  request.set_size(bytes.size());
  request.set_upload_id(upload_id);
  do {
    const auto piece = bytes.subspan(offset, std::min(kPieceBytes, bytes.size() - offset));
    request.set_write_offset(offset);
    request.set_data(piece.data(), piece.size());
    if (options.stop && options.stop()) context.TryCancel();
    if (!writer->Write(request)) break;
    offset += piece.size();
    request.clear_digest();
    request.clear_size();
    request.clear_upload_id();
  } while (offset < bytes.size());
  writer->WritesDone();
  const auto status = writer->Finish();
  check_stop(options);
  if (status.ok()) committed = response.committed_size();
  return status;
}

// Bytes of the upload that the server holds for certain.
grpc::Status query_committed(v1::Artifacts::StubInterface& stub, const Digest& digest,
                             const std::string& upload_id, std::uint64_t size, std::uint64_t& committed) {
  grpc::ClientContext context;
  set_deadline(context);
  v1::QueryWriteStatusRequest request;
  request.set_digest(digest.hex());
  request.set_upload_id(upload_id);
  v1::QueryWriteStatusResponse response;
  const auto status = stub.QueryWriteStatus(&context, request, &response);
  if (status.error_code() ==
      grpc::StatusCode::NOT_FOUND) {  // it came to nothing, or was forgotten: from the start
    committed = 0;
    return grpc::Status::OK;
  }
  if (status.ok()) committed = response.complete() ? size : std::min(response.committed_size(), size);
  return status;
}

// Appends the blob from where `bytes` ends. Returns how the stream ended.
grpc::Status receive_more(v1::Artifacts::StubInterface& stub, const Digest& digest, std::uint64_t most,
                          const TransferOptions& options, std::string& bytes) {
  grpc::ClientContext context;
  set_deadline(context);
  v1::ReadBlobRequest request;
  request.set_digest(digest.hex());
  request.set_offset(bytes.size());
  const auto reader = stub.ReadBlob(&context, request);
  v1::ReadBlobResponse response;
  bool too_long = false;
  while (reader->Read(&response)) {
    too_long |= bytes.size() + response.data().size() > most;
    if (too_long || (options.stop && options.stop())) {
      context.TryCancel();
      continue;
    }
    bytes += response.data();
  }
  const auto status = reader->Finish();
  check_stop(options);
  if (too_long)
    throw Error(
        ErrorCode::kDataLoss, "CORRUPT_BLOB",
        "the blob " + digest.hex() + " is longer than the " + std::to_string(most) + " bytes it should have",
        "", "wring-server fsck finds damaged blobs; wring put of the same file uploads it again.");
  return status;
}

fs::path path_of(const fs::path& blobs, const Digest& digest) {
  const auto hex = digest.hex();
  return blobs / hex.substr(0, 2) / hex;
}

// Runs `move(i)` for each blob on a few threads and adds up their bytes.
void in_parallel(std::span<const BlobRef> blobs, const TransferOptions& options,
                 const std::function<void(std::size_t, const TransferOptions&)>& move) {
  std::uint64_t total = 0, done = 0;
  for (const auto& blob : blobs) total += blob.size;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::exception_ptr first;
  TransferOptions one = options;
  one.progress = {};
  one.stop = [&] { return failed || (options.stop && options.stop()); };
  const auto work = [&] {
    for (std::size_t i; !failed && (i = next++) < blobs.size();) try {
        move(i, one);
        const std::lock_guard lock(mutex);
        done += blobs[i].size;
        if (options.progress) options.progress(done, total);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
        failed = true;
      }
  };
  {
    std::vector<std::jthread> threads;
    const auto count =
        std::min<std::size_t>(blobs.size(), static_cast<std::size_t>(std::max(options.parallel, 1)));
    for (std::size_t i = 1; i < count; ++i) threads.emplace_back(work);
    work();
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace

std::vector<Digest> find_missing(v1::Artifacts::StubInterface& stub, std::span<const Digest> digests,
                                 const TransferOptions& options) {
  std::vector<Digest> missing;
  while (!digests.empty()) {
    const auto asked = digests.first(std::min(kDigestsACall, digests.size()));
    v1::FindMissingBlobsRequest request;
    for (const auto& digest : asked) request.add_digests(digest.hex());
    v1::FindMissingBlobsResponse response;
    for (Patience patience(options);;) {
      check_stop(options);
      grpc::ClientContext context;
      set_deadline(context);
      const auto status = stub.FindMissingBlobs(&context, request, &response);
      if (status.ok()) break;
      patience.after(status, false);
    }
    for (const auto& digest : response.missing()) missing.push_back(Digest::parse(digest));
    digests = digests.subspan(asked.size());
  }
  return missing;
}

void upload_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::span<const std::byte> bytes,
                 const TransferOptions& options) {
  const auto upload_id =
      options.upload_name.empty() ? random_uuid() : sha256(options.upload_name + " " + digest.hex()).hex();
  std::uint64_t committed = 0;  // as far as is known: a server that has more says so
  for (Patience patience(options);;) {
    const auto before = committed;
    auto status = send_from(stub, digest, bytes, upload_id, committed, options, committed);
    if (status.ok() && committed >= bytes.size()) break;
    if (before > 0 && status.error_code() == grpc::StatusCode::DATA_LOSS) {
      committed = 0;  // the server's machine died, and tore what an earlier stream had sent: from the start
      continue;
    }
    const bool broke = !status.ok() && status.error_code() != grpc::StatusCode::OUT_OF_RANGE;
    if (broke) patience.after(status, false);  // throws what waiting does not mend
    for (;;) {
      status = query_committed(stub, digest, upload_id, bytes.size(), committed);
      if (status.ok()) break;
      patience.after(status, false);
    }
    if (committed >= bytes.size()) break;
    if (!broke && committed == before)
      throw Error(ErrorCode::kInternal, "UPLOAD_STUCK",
                  "the server takes no more of blob " + digest.hex() + " than " + std::to_string(committed) +
                      " bytes");
    if (committed > before) patience.renew();
  }
  if (options.progress) options.progress(bytes.size(), bytes.size());
}

std::string download_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::uint64_t size,
                          const TransferOptions& options) {
  std::string bytes;
  bytes.reserve(std::min(size, kMaxBlobBytes));
  for (Patience patience(options);;) {
    const auto before = bytes.size();
    const auto status = receive_more(stub, digest, size > 0 ? size : kMaxBlobBytes, options, bytes);
    if (status.ok() || (size > 0 && bytes.size() == size)) break;
    patience.after(status, bytes.size() > before);
  }
  if ((size > 0 && bytes.size() != size) || sha256(bytes) != digest)
    throw Error(ErrorCode::kDataLoss, "CORRUPT_BLOB",
                "what the server sent as blob " + digest.hex() + " is not what its digest says (" +
                    std::to_string(bytes.size()) + " bytes)",
                "", "wring-server fsck finds damaged blobs; wring put of the same file uploads it again.");
  if (options.progress) options.progress(bytes.size(), bytes.size());
  return bytes;
}

void download_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::uint64_t size,
                   const fs::path& blobs, const TransferOptions& options) {
  const auto bytes = download_blob(stub, digest, size, options);
  const auto path = path_of(blobs, digest);
  fs::create_directories(path.parent_path());
  write_file_atomic(path, bytes, options.durability);
}

void upload_blobs(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                  const std::function<BlobBytes(std::size_t)>& read, const TransferOptions& options) {
  in_parallel(blobs, options, [&](std::size_t i, const TransferOptions& one) {
    const auto bytes = read(i);
    upload_blob(stub, blobs[i].digest, bytes.data, one);
  });
}

std::uint64_t upload_missing(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                             const std::function<BlobBytes(std::size_t)>& read,
                             const TransferOptions& options) {
  std::map<Digest, std::size_t> places;
  std::vector<Digest> digests;
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    places.emplace(blobs[i].digest, i);
    digests.push_back(blobs[i].digest);
  }
  std::vector<BlobRef> missing;
  std::uint64_t bytes = 0;
  for (const auto& digest : find_missing(stub, digests, options)) {
    missing.push_back(blobs[places.at(digest)]);
    bytes += missing.back().size;
  }
  upload_blobs(
      stub, missing, [&](std::size_t i) { return read(places.at(missing[i].digest)); }, options);
  return bytes;
}

std::uint64_t upload_and_commit(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                                const std::function<BlobBytes(std::size_t)>& read,
                                const std::function<void()>& commit, const TransferOptions& options) {
  std::uint64_t sent = 0;
  for (int left = kMaxCommits;;) {
    sent += upload_missing(stub, blobs, read, options);
    try {
      commit();
      return sent;
    } catch (const Error& error) {
      if (error.reason() != "MISSING_BLOBS" || --left == 0) throw;
    }
  }
}

void download_blobs(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                    const fs::path& folder, const TransferOptions& options) {
  in_parallel(blobs, options, [&](std::size_t i, const TransferOptions& one) {
    download_blob(stub, blobs[i].digest, blobs[i].size, folder, one);
  });
}

}  // namespace wring

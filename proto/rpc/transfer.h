// Blobs to and from a server's artifact store: resumable, verified, several at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/digest.h"
#include "common/files.h"
#include "wring/v1/artifacts.grpc.pb.h"

namespace wring {

// Bytes moved of all that must move. Called under a lock, from the threads that move them.
using TransferProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct TransferOptions {
  int parallel = 4;  // blobs at a time, of the calls that take several
  double patience_seconds =
      30;  // how long a server may be away, without a byte moved, before kUnavailable is thrown
  TransferProgress progress;
  std::function<bool()> stop;  // asked often; true ends the transfer with Error(kCancelled, "STOPPED")
  Durability durability = Durability::kMachine;  // of what download_blobs() writes
  std::string upload_name;  // uploads under the same name go on where one that died has stopped; empty: anew
};

struct BlobRef {
  Digest digest;
  std::uint64_t size = 0;  // bytes, 1 to 64 MiB
};

// Some bytes and whatever keeps them alive.
struct BlobBytes {
  std::span<const std::byte> data;
  std::shared_ptr<const void> owner;
};

// All calls throw the server's error as wring::Error. A stream that breaks because the server is away goes on
// where it stopped as soon as the server is back. Any thread may call.

// Those of `digests` that the store does not hold, in the order given.
std::vector<Digest> find_missing(v1::Artifacts::StubInterface& stub, std::span<const Digest> digests,
                                 const TransferOptions& options = {});

// Writes one blob. One that the store holds already costs one message.
void upload_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::span<const std::byte> bytes,
                 const TransferOptions& options = {});

// One blob in memory, verified: Error(kDataLoss, "CORRUPT_BLOB") where the bytes are not what the digest
// says, or not `size` bytes (0: any up to 64 MiB).
std::string download_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::uint64_t size = 0,
                          const TransferOptions& options = {});

// One blob, verified, at BLOBS/ab/abcdef...: a file that is there is whole, whenever what
// `options.durability` names stops.
void download_blob(v1::Artifacts::StubInterface& stub, const Digest& digest, std::uint64_t size,
                   const std::filesystem::path& blobs, const TransferOptions& options = {});

// The same for several blobs, `options.parallel` at a time. The first error stops the rest and is thrown.
// `read(i)` gives the bytes of blobs[i], on any of the threads.
void upload_blobs(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                  const std::function<BlobBytes(std::size_t)>& read, const TransferOptions& options = {});
// Those of `blobs`, each there once, that the store lacks. Returns the bytes sent.
std::uint64_t upload_missing(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                             const std::function<BlobBytes(std::size_t)>& read,
                             const TransferOptions& options = {});
// The same, and `commit`, whose Error MISSING_BLOBS (what the store had when it was asked is collected by
// now) has those sent again, a few times at most.
std::uint64_t upload_and_commit(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                                const std::function<BlobBytes(std::size_t)>& read,
                                const std::function<void()>& commit, const TransferOptions& options = {});
void download_blobs(v1::Artifacts::StubInterface& stub, std::span<const BlobRef> blobs,
                    const std::filesystem::path& folder, const TransferOptions& options = {});

}  // namespace wring

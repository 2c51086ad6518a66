// Load of blobs, and the bounds of the machine: a socket on loopback, a disk that fsyncs.
#include "proto/rpc/transfer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <random>
#include <thread>

#include "bench/load/load.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "proto/rpc/channel.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;

std::string random_bytes(std::uint64_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    const auto word = random();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, bytes.data() + i);
  }
  return bytes;
}

void in_threads(int threads, std::size_t count, const std::function<void(std::size_t)>& body) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> pool;
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&] {
      for (std::size_t i; (i = next++) < count;) body(i);
    });
}

double report(const std::string& what, double bytes, double seconds) {
  std::printf("  %-34s %8.0f MB/s\n", what.c_str(), bytes / 1e6 / seconds);
  std::fflush(stdout);
  return bytes / seconds;
}

// One connection, pieces of 1 MiB.
double raw_loopback(std::uint64_t bytes) {
  const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{AF_INET, 0, {::htonl(INADDR_LOOPBACK)}, {}};
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), any, size) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), any, &size) != 0)
    throw_io_error("listen", "loopback", errno);
  const Stopwatch watch;
  std::jthread sender([&] {
    const FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string piece = random_bytes(kPiece, 0);
    if (::connect(fd.get(), any, size) != 0) throw_io_error("connect", "loopback", errno);
    for (std::uint64_t sent = 0; sent < bytes; sent += piece.size())
      write_all(fd.get(), std::as_bytes(std::span(piece)), "loopback");
  });
  const FileDescriptor fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::vector<char> buffer(kPiece);
  while (::read(fd.get(), buffer.data(), buffer.size()) > 0) {
  }
  return static_cast<double>(bytes) / watch.seconds();
}

// Files of a blob's size, each fsynced.
double raw_disk(const std::vector<std::string>& blobs, int threads, const fs::path& folder) {
  fs::create_directories(folder);
  const Stopwatch watch;
  in_threads(threads, blobs.size(), [&](std::size_t i) {
    const auto path = folder / std::to_string(i);
    const FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    write_all(fd.get(), std::as_bytes(std::span(blobs[i])), path);
    if (::fsync(fd.get()) != 0) throw_io_error("fsync", path, errno);
  });
  const double seconds = watch.seconds();
  fs::remove_all(folder);
  return static_cast<double>(blobs.size() * blobs[0].size()) / seconds;
}

// Returns the slower of the two.
double print_raw(const char* when, const std::vector<std::string>& blobs, int parallel,
                 const fs::path& folder) {
  const double loopback = raw_loopback(blobs.size() * blobs[0].size());
  const double alone = raw_disk(blobs, 1, folder / "raw"),
               together = raw_disk(blobs, parallel, folder / "raw");
  const double disk = std::max(alone, together);
  report(std::string("raw loopback, ") + when, loopback, 1);
  report(std::string("raw disk, fsynced, ") + when, disk, 1);
  return std::min(loopback, disk);
}

}  // namespace

void load_transfers(const Target& target, std::size_t count, std::uint64_t blob_bytes, int parallel,
                    const fs::path& folder) {
  std::vector<std::string> blobs(count);
  in_threads(parallel, count,
             [&](std::size_t i) { blobs[i] = random_bytes(blob_bytes, i + std::random_device{}()); });
  const auto total = static_cast<double>(count * blob_bytes);
  std::printf("%zu blobs of %.0f MiB, %d at a time\n", count, static_cast<double>(blob_bytes) / (1 << 20),
              parallel);
  const double before = print_raw("before", blobs, parallel, folder);
  const auto stub = v1::Artifacts::NewStub(make_channel(target.address, {target.token, {}, {}, {}}));
  TransferOptions options;
  options.parallel = parallel;
  std::vector<BlobRef> refs(count);
  Stopwatch watch;
  in_threads(parallel, count, [&](std::size_t i) { refs[i] = {sha256(blobs[i]), blob_bytes}; });
  const double hashed = watch.seconds();
  watch = {};
  upload_blobs(
      *stub, refs,
      [&](std::size_t i) {
        return BlobBytes{std::as_bytes(std::span(blobs[i])), nullptr};
      },
      options);
  const double sent = watch.seconds();
  const double up = report("upload, hashing included", total, hashed + sent);
  report("  without the client's hashing", total, sent);
  watch = {};
  download_blobs(*stub, refs, folder / "fetched", options);
  const double down = report("download, to fsynced files, verified", total, watch.seconds());
  fs::remove_all(folder / "fetched");
  watch = {};
  in_threads(parallel, count, [&](std::size_t i) { download_blob(*stub, refs[i].digest, refs[i].size); });
  report("download, to memory, verified", total, watch.seconds());
  const double raw = (before + print_raw("after", blobs, parallel, folder)) / 2;
  std::printf("  of the slower raw figure (goal: 80 %%, or 400 MB/s): upload %.0f %%, download %.0f %%\n",
              100 * up / raw, 100 * down / raw);
}

}  // namespace wring

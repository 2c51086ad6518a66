// Artifacts as folders: uploads that send only what is missing, downloads that appear whole or not at all.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "client/connection.h"
#include "common/files.h"
#include "common/folder_lock.h"
#include "formats/manifest.h"
#include "formats/tree_chunks.h"
#include "proto/rpc/status.h"
#include "proto/rpc/transfer.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestFile = ".wring-manifest.json";  // hidden, so that no artifact holds it

// The manifest of a tree on disk. A folder that was downloaded and not altered keeps what its artifact said
// of itself.
Manifest manifest_of(const fs::path& path, const std::string& kind) {
  auto manifest = build_manifest(path, kind);
  if (!fs::is_regular_file(path / kManifestFile)) return manifest;
  const auto kept = Manifest::parse(read_file(path / kManifestFile));
  if (kept.kind == kind && kept.files == manifest.files) manifest.metadata = kept.metadata;
  return manifest;
}

// The same for the same tree, when it is sent from here again.
std::string upload_name(const fs::path& path) {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return std::string(host) + " " + std::to_string(::geteuid()) + " " +
         fs::absolute(path).lexically_normal().string();
}

// Sends what the store lacks, and commits. Returns the bytes sent.
std::uint64_t send_and_commit(Connection& connection, const fs::path& path, const Manifest& manifest,
                              const std::function<void()>& commit, const TransferProgress& progress) {
  const TreeChunks tree(path, manifest);
  std::vector<BlobRef> blobs;
  for (const auto& chunk : tree.chunks()) blobs.push_back({chunk.digest, chunk.size});
  const auto read = [&](std::size_t i) -> BlobBytes {
    const auto bytes = tree.read(i);
    return {bytes.data, bytes.owner};
  };
  TransferOptions options;
  options.progress = progress;
  options.upload_name = upload_name(path);
  return upload_and_commit(*connection.artifacts, blobs, read, commit, options);
}

// Whether the file holds the chunk where it stands; stands behind it then.
bool has_chunk(int file, const Chunk& chunk) {
  std::string bytes(chunk.size, '\0');
  std::size_t n = 0;
  for (ssize_t got = 1; n < bytes.size() && got > 0; n += static_cast<std::size_t>(std::max<ssize_t>(got, 0)))
    got = ::read(file, bytes.data() + n, bytes.size() - n);
  return n == bytes.size() && sha256(bytes) == chunk.digest;
}

// Downloads one file of an artifact; each chunk is verified. Those that are there at its start stay.
void fetch_file(Connection& connection, const ManifestFile& file, const fs::path& path,
                const std::function<void(std::uint64_t)>& on_bytes) {
  fs::create_directories(path.parent_path());
  FileDescriptor out(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!out) throw_io_error("create", path, errno);
  std::uint64_t done = 0;
  auto chunks = std::span(file.chunks);
  for (; !chunks.empty() && has_chunk(out.get(), chunks.front()); chunks = chunks.subspan(1)) {
    done += chunks.front().size;
    on_bytes(chunks.front().size);
  }
  if (::ftruncate(out.get(), static_cast<off_t>(done)) != 0 ||
      ::lseek(out.get(), static_cast<off_t>(done), SEEK_SET) < 0)
    throw_io_error("cut", path, errno);
  for (const auto& chunk : chunks) {
    const auto bytes = download_blob(*connection.artifacts, chunk.digest, chunk.size);
    write_all(out.get(), std::as_bytes(std::span(bytes)), path);
    on_bytes(chunk.size);
  }
  if (::fsync(out.get()) != 0) throw_io_error("write", path, errno);
}

// A folder may be replaced by a result only while it holds nothing.
void check_out(const fs::path& out) {
  std::error_code ignored;
  if (!fs::exists(out, ignored) || (fs::is_directory(out) && fs::is_empty(out))) return;
  throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", out.string() + " is there already", "--out",
              "Name a folder that does not exist yet.");
}

bool is_digest(const std::string& text) {
  const auto digits = text.starts_with("sha256:") ? text.substr(7) : text;
  return digits.size() >= 4 && digits.size() <= 64 &&
         std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isxdigit(c); });
}

}  // namespace

Uploaded Client::upload_tree(const fs::path& path, const std::string& kind, const std::string& name,
                             const TransferProgress& progress) {
  const auto manifest = manifest_of(path, kind);
  Uploaded uploaded;
  uploaded.total_bytes = manifest.total_bytes();
  v1::CommitArtifactRequest request;
  request.set_manifest_json(manifest.canonical());
  request.set_name(name.empty() ? fs::absolute(path).lexically_normal().filename().string() : name);
  const auto commit = [&] {
    uploaded.artifact =
        connection_->call(*connection_->artifacts, &v1::Artifacts::Stub::CommitArtifact, request, 600);
  };
  uploaded.sent_bytes = send_and_commit(*connection_, path, manifest, commit, progress);
  return uploaded;
}

v1::Artifact Client::download_artifact(const std::string& digest, const fs::path& out,
                                       const TransferProgress& progress) {
  check_out(out);
  auto found = artifact(digest);
  const auto manifest = Manifest::parse(found.manifest_json());
  if (manifest.digest().hex() != found.digest())
    throw Error(ErrorCode::kDataLoss, "CORRUPT_MANIFEST",
                "the manifest that the server sent is not that of " + found.digest());
  const auto target = fs::absolute(out).lexically_normal();
  const auto parent = target.has_filename() ? target.parent_path() : target.parent_path().parent_path();
  // Stays where this is broken off: the same call goes on from there.
  const auto half =
      parent / ("." + target.filename().string() + "." + found.digest().substr(0, 12) + ".part");
  const auto folder = half / "tree";
  fs::create_directories(folder);
  const auto lock = lock_folder(half, Error(ErrorCode::kFailedPrecondition, "DOWNLOAD_IN_USE",
                                            "another process downloads to " + out.string(), "--out"));
  std::uint64_t done = 0;
  try {
    for (const auto& file : manifest.files)
      fetch_file(*connection_, file, folder / file.path, [&](std::uint64_t bytes) {
        done += bytes;
        if (progress) progress(done, manifest.total_bytes());
      });
  } catch (const Error& error) {
    if (!is_away(error)) fs::remove_all(half);
    throw;
  }
  write_file_atomic(folder / kManifestFile, manifest.canonical());
  sync_path(folder);
  fs::rename(folder, target);
  fs::remove_all(half);
  sync_path(parent);
  return found;
}

void check_input(Client& client, const std::string& text, const std::string& field) {
  if (!names_path(text, field)) client.artifact(text);
}

bool names_path(const std::string& text, const std::string& field) {
  std::error_code ignored;
  if (fs::exists(text, ignored)) return true;
  if (is_digest(text)) return false;
  throw Error(ErrorCode::kNotFound, "NO_SUCH_INPUT", "there is no file or folder " + text, field,
              "Give a path, or the digest of an artifact (wring artifacts lists them).");
}

std::string resolve_input(Client& client, const std::string& text, const std::string& kind,
                          const TransferProgress& progress) {
  check_input(client, text, kind == "model" ? "--model" : "--data");
  std::error_code ignored;
  if (fs::exists(text, ignored)) return client.upload_tree(text, kind, {}, progress).artifact.digest();
  return client.artifact(text).digest();
}

}  // namespace wring

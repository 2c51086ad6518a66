// Manifests: canonical JSON out, checked JSON in, and the chunk boundaries of files.
#include "formats/manifest.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "formats/file_tree.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace wring {
namespace {

constexpr std::uint64_t kSplit = 16ull << 20, kJoin = 1ull << 20, kOwn = 64ull << 10, kMaxChunk = 64ull << 20;
constexpr std::size_t kMaxText = 64u << 20, kMaxChunks = 1'000'000;

const std::array<std::string_view, 9> kKinds{"model",  "dataset", "bitstream",      "index",        "summary",
                                             "policy", "report",  "level-database", "latency-table"};

[[noreturn]] void throw_bad(const std::string& field, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_MANIFEST", why, field);
}

ManifestFile parse_file(const Json& json, const std::string& field, std::size_t& chunk_count) {
  ManifestFile file;
  file.path = json_at<std::string>(json, "path", field);
  if (!is_safe_relative_path(file.path)) throw_bad(field + ".path", "not a safe relative path");
  file.size = json_at<std::uint64_t>(json, "size", field);
  const auto chunks = json.find("chunks");
  if (chunks == json.end() || !chunks->is_array()) throw_bad(field + ".chunks", "is missing, or no list");
  std::uint64_t sum = 0;
  for (const auto& entry : *chunks) {
    const std::string at = field + ".chunks[" + std::to_string(file.chunks.size()) + "]";
    if (++chunk_count > kMaxChunks) throw_bad(at, "more than 1,000,000 chunks");
    Chunk chunk{Digest::parse(json_at<std::string>(entry, "sha256", at), at + ".sha256"),
                json_at<std::uint64_t>(entry, "size", at)};
    if (chunk.size < 1 || chunk.size > kMaxChunk)
      throw_bad(at + ".size", std::to_string(chunk.size) + " is not in 1 to 64 MiB");
    sum += chunk.size;  // at most 1,000,000 x 64 MiB: no overflow
    file.chunks.push_back(chunk);
  }
  if (sum != file.size)
    throw_bad(field + ".size",
              "the chunks add up to " + std::to_string(sum) + " bytes, not " + std::to_string(file.size));
  return file;
}

std::vector<std::uint64_t> tensor_starts(const FileView& file, const std::string& path) {
  std::vector<std::uint64_t> starts;
  try {
    if (path.ends_with(".safetensors")) {
      for (const auto& entry : read_safetensors_header(file).entries) starts.push_back(entry.offset);
    } else if (path.ends_with(".gguf")) {
      const GgufFile gguf(file);
      for (const auto& tensor : gguf.tensors()) starts.push_back(tensor.offset);
    }
  } catch (const Error&) {
    starts.clear();  // not what its name says: cut by size; whoever reads it as a model gets the error
  }
  std::sort(starts.begin(), starts.end());
  return starts;
}

}  // namespace

namespace {

Json canonical_json(const Manifest& manifest) {
  Json list = Json::array();
  for (const auto& file : manifest.files) {
    Json chunks = Json::array();
    for (const auto& chunk : file.chunks)
      chunks.push_back({{"sha256", chunk.digest.hex()}, {"size", chunk.size}});
    list.push_back({{"path", file.path}, {"size", file.size}, {"chunks", std::move(chunks)}});
  }
  return {
      {"version", 1}, {"kind", manifest.kind}, {"files", std::move(list)}, {"metadata", manifest.metadata}};
}

}  // namespace

std::string Manifest::canonical() const {
  return canonical_json(*this).dump();
}

Digest Manifest::digest() const {
  return sha256(canonical());
}

std::uint64_t Manifest::total_bytes() const {
  return std::accumulate(files.begin(), files.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const auto& file) { return sum + file.size; });
}

Manifest Manifest::parse(std::string_view text) {
  if (text.size() > kMaxText) throw_bad("manifest", "larger than 64 MiB");
  const Json json = parse_json(text, "manifest");
  if (json_at<int>(json, "version", "manifest") != 1) throw_bad("version", "only version 1 is known");
  Manifest manifest;
  manifest.kind = json_at<std::string>(json, "kind", "manifest");
  if (std::find(kKinds.begin(), kKinds.end(), manifest.kind) == kKinds.end())
    throw_bad("kind", "'" + manifest.kind.substr(0, 40) + "' is no kind of artifact");
  manifest.metadata = json_or<Json>(json, "metadata", Json::object(), "manifest");
  if (!manifest.metadata.is_object()) throw_bad("metadata", "is no object");
  const auto files = json.find("files");
  if (files == json.end() || !files->is_array()) throw_bad("files", "is missing, or no list");
  std::size_t chunk_count = 0;
  for (const auto& entry : *files) {
    const std::string field = "files[" + std::to_string(manifest.files.size()) + "]";
    manifest.files.push_back(parse_file(entry, field, chunk_count));
    const auto n = manifest.files.size();
    if (n > 1 && !(manifest.files[n - 2].path < manifest.files[n - 1].path))
      throw_bad(field + ".path", "paths are not sorted and unique");
  }
  if (json != canonical_json(manifest))
    throw_bad("manifest", "holds members that no manifest has, or lacks one, or spells a value its own way");
  return manifest;
}

std::vector<std::uint64_t> chunk_sizes(std::uint64_t size, std::span<const std::uint64_t> tensor_starts) {
  std::vector<std::uint64_t> cuts;
  for (const auto start : tensor_starts)
    if (start > 0 && start < size && (cuts.empty() || start > cuts.back())) cuts.push_back(start);
  if (size > 0) cuts.push_back(size);
  std::vector<std::uint64_t> sizes;
  std::uint64_t begin = 0;
  bool joinable = false;  // the last size is a whole piece, not the rest of a split one
  for (const auto end : cuts) {
    std::uint64_t piece = end - std::exchange(begin, end);
    // A large piece begins a chunk whatever lies before it, so that two files agree again soon after a
    // change.
    if (joinable && piece < kOwn && sizes.back() + piece < kJoin) {
      sizes.back() += piece;
      continue;
    }
    joinable = piece <= kSplit;
    for (; piece > kSplit; piece -= kSplit) sizes.push_back(kSplit);
    if (piece > 0) sizes.push_back(piece);
  }
  return sizes;
}

Manifest build_manifest(const std::filesystem::path& path, std::string kind, Json metadata) {
  Manifest manifest{std::move(kind), {}, std::move(metadata)};
  const FileTree tree = FileTree::on_disk(path);
  for (const auto& name : tree.paths()) {
    const FileView view = tree.open(name);
    ManifestFile file{name, view.size(), {}};
    std::uint64_t offset = 0;
    for (const auto size : chunk_sizes(view.size(), tensor_starts(view, name))) {
      file.chunks.push_back({sha256(view.read(offset, size).data), size});
      offset += size;
    }
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

}  // namespace wring

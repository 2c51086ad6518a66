// The manifest of an artifact: its files as lists of chunks. Its SHA-256 is the artifact's name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/digest.h"
#include "common/json.h"

namespace wring {

struct Chunk {
  Digest digest;
  std::uint64_t size = 0;  // bytes
  bool operator==(const Chunk&) const = default;
};

struct ManifestFile {
  std::string path;  // relative, safe (is_safe_relative_path), unique
  std::uint64_t size = 0;
  std::vector<Chunk> chunks;  // in order; their sizes add up to size
  bool operator==(const ManifestFile&) const = default;
};

// An immutable tree of files. Holds no time, host or measurement. `kind` is one of model, dataset, bitstream,
// index, summary, policy, report, level-database, latency-table.
struct Manifest {
  std::string kind;
  std::vector<ManifestFile> files;  // sorted by path
  Json metadata = Json::object();   // what the artifact says of itself: format, licence, lineage

  // Canonical JSON:
  // {"files":[{"chunks":[{"sha256":..,"size":..}],"path":..,"size":..}],"kind":..,"metadata":{..},
  // "version":1}, keys sorted, no spaces.
  std::string canonical() const;
  Digest digest() const;              // SHA-256 of canonical()
  std::uint64_t total_bytes() const;  // of all files

  // Parses and checks a manifest from outside: at most 64 MiB of text, 1,000,000 chunks, known kind, safe
  // unique sorted paths, chunk sizes in 1..64 MiB that add up. Throws Error(kInvalidArgument, "BAD_MANIFEST")
  // with the field's path. canonical() of the result may differ from `text` only in white space and key
  // order.
  static Manifest parse(std::string_view text);

  bool operator==(const Manifest&) const = default;
};

// Chunk boundaries of a file: cuts at `tensor_starts` (offsets, ascending), pieces above 16 MiB split at 16
// MiB, pieces below 64 KiB joined to the chunk before them while that stays below 1 MiB. Returns the chunks'
// sizes, which add up to `size`.
std::vector<std::uint64_t> chunk_sizes(std::uint64_t size, std::span<const std::uint64_t> tensor_starts);

// The manifest of a folder (or of one file) on disk. Files that are safetensors or GGUF by name and header
// are cut at their tensors, others by size alone. Hashes every byte once.
Manifest build_manifest(const std::filesystem::path& path, std::string kind, Json metadata = Json::object());

}  // namespace wring

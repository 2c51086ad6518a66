// Ranges of a file to parts of its chunks.
#include "server/http/artifact_file.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <memory>
#include <optional>

#include "common/error.h"
#include "server/http/etag.h"

namespace wring {
namespace {

struct Range {
  std::uint64_t from = 0, to = 0;  // [from, to)
};

struct Part {
  Digest chunk;
  std::uint64_t offset = 0, size = 0;
};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "bytes=5-", "bytes=5-9", "bytes=-4". nullopt where there is none that we serve: then the whole file is due.
std::optional<Range> parse_range(std::string_view text, std::uint64_t size) {
  constexpr std::string_view unit = "bytes=";
  if (!text.starts_with(unit)) return std::nullopt;
  text.remove_prefix(unit.size());
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1));
  Range range{0, size};
  if (dash == 0) {
    if (!last) return std::nullopt;
    range.from = size - std::min(*last, size);
  } else {
    if (!first || (!last && dash + 1 != text.size()) || (last && *last < *first)) return std::nullopt;
    range.from = *first;
    if (last && *last < size) range.to = *last + 1;
  }
  if (range.from >= range.to)
    throw Error(ErrorCode::kOutOfRange, "RANGE_NOT_SATISFIABLE",
                "the file has " + std::to_string(size) + " bytes", "Range");
  return range;
}

std::deque<Part> parts_of(const ManifestFile& file, const Range& range) {
  std::deque<Part> parts;
  std::uint64_t start = 0;
  for (const auto& chunk : file.chunks) {
    const auto from = std::max(range.from, start), to = std::min(range.to, start + chunk.size);
    if (from < to) parts.push_back({chunk.digest, from - start, to - from});
    start += chunk.size;
  }
  return parts;
}

// For Content-Disposition: the last name of the path, with what a header cannot carry replaced.
std::string download_name(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name)
    if (c < ' ' || c > '~' || c == '"' || c == '\\') c = '_';
  return name;
}

}  // namespace

HttpResponse artifact_file(const HttpRequest& request, const Manifest& manifest, const std::string& path,
                           BlobStore& blobs) {
  const auto file = std::find_if(manifest.files.begin(), manifest.files.end(),
                                 [&](const ManifestFile& f) { return f.path == path; });
  if (file == manifest.files.end())
    throw Error(ErrorCode::kNotFound, "FILE_NOT_FOUND",
                "the artifact has no file '" + path.substr(0, 200) + "'", "path");
  const auto asked = parse_range(request.range, file->size);
  const Range range = asked.value_or(Range{0, file->size});
  HttpResponse response;
  response.content_type = "application/octet-stream";
  response.headers = {{"Accept-Ranges", "bytes"},
                      {"Cache-Control", "private, max-age=31536000, immutable"},
                      {"Content-Disposition", "attachment; filename=\"" + download_name(path) + "\""}};
  if (asked) {
    response.status = 206;
    response.headers.emplace_back("Content-Range", "bytes " + std::to_string(range.from) + "-" +
                                                       std::to_string(range.to - 1) + "/" +
                                                       std::to_string(file->size));
  }
  std::string content;
  for (const auto& chunk : file->chunks) content += chunk.digest.hex();
  response = with_etag(request, std::move(response), etag_of(content));
  if (response.status == 304) return response;
  response.length = range.to - range.from;
  response.next_piece = [&blobs, parts = std::make_shared<std::deque<Part>>(parts_of(*file, range))] {
    std::string piece;
    if (parts->empty()) return piece;
    const Part part = parts->front();
    parts->pop_front();
    blobs.read(part.chunk, part.offset, part.size, [&](std::span<const std::byte> bytes) {
      piece.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return true;
    });
    return piece;
  };
  return response;
}

}  // namespace wring

// Ranges of a file to parts of its chunks.
#include "server/http/artifact_file.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>

#include "common/error.h"
#include "server/http/etag.h"
#include "server/http/range.h"

namespace wring {
namespace {

struct Part {
  Digest chunk;
  std::uint64_t offset = 0, size = 0;
};

std::deque<Part> parts_of(const ManifestFile& file, const ByteRange& range) {
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
                           BlobStore& blobs, std::function<void(std::uint64_t)> sends) {
  const auto file = std::find_if(manifest.files.begin(), manifest.files.end(),
                                 [&](const ManifestFile& f) { return f.path == path; });
  if (file == manifest.files.end())
    throw Error(ErrorCode::kNotFound, "FILE_NOT_FOUND",
                "the artifact has no file '" + path.substr(0, 200) + "'", "path");
  std::string content;
  for (const auto& chunk : file->chunks) content += chunk.digest.hex();
  const std::string etag = etag_of(content);
  HttpResponse response;
  response.content_type = "application/octet-stream";
  response.headers = {{"Accept-Ranges", "bytes"},
                      {"Cache-Control", "private, no-cache"},
                      {"Content-Disposition", "attachment; filename=\"" + download_name(path) + "\""}};
  response = with_etag(request, std::move(response), etag);
  if (response.status == 304) return response;
  const bool as_before = request.if_range.empty() || request.if_range == etag;
  const auto asked =
      request.method == "GET" && as_before ? parse_range(request.range, file->size) : std::nullopt;
  const ByteRange range = asked.value_or(ByteRange{0, file->size});
  if (asked) {
    response.status = 206;
    response.headers.emplace_back("Content-Range", "bytes " + std::to_string(range.from) + "-" +
                                                       std::to_string(range.to - 1) + "/" +
                                                       std::to_string(file->size));
  }
  response.length = range.to - range.from;
  response.next_piece = [&blobs, sends = std::move(sends),
                         parts = std::make_shared<std::deque<Part>>(parts_of(*file, range))] {
    std::string piece;
    if (parts->empty()) return piece;
    const Part part = parts->front();
    parts->pop_front();
    sends(part.size);
    blobs.read(part.chunk, part.offset, part.size, [&](std::span<const std::byte> bytes) {
      piece.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return true;
    });
    return piece;
  };
  return response;
}

}  // namespace wring

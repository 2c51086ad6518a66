// One request a piece; the store keeps what came of an upload.
#include "server/http/blobs.h"

#include <memory>
#include <span>
#include <string>
#include <utility>

namespace wring {

v1::WriteBlobResponse write_blob(const Backend& backend, const Door::Visit& visit,
                                 const v1::WriteBlobRequest& request) {
  const Digest digest = Digest::parse(request.digest(), "digest");
  const TenantBlobs blobs = blobs_of(backend, visit);
  v1::WriteBlobResponse response;
  if (blobs.missing({digest}).empty()) {
    response.set_committed_size(backend.blobs.size(digest));
    return response;
  }
  auto upload = blobs.upload(digest, request.size(), request.upload_id());
  upload.append(request.write_offset(), std::as_bytes(std::span(request.data())));
  backend.metrics.blob_bytes("in", static_cast<double>(request.data().size()));
  response.set_committed_size(upload.committed());
  if (upload.committed() < request.size()) return response;
  upload.finish();
  blobs.add(digest, upload.committed());
  return response;
}

HttpResponse read_blob(const Backend& backend, const Door::Visit& visit, const v1::ReadBlobRequest& request) {
  HttpResponse response;
  response.content_type = "application/octet-stream";
  blobs_of(backend, visit)
      .read(Digest::parse(request.digest(), "digest"), request.offset(), request.limit(),
            [&](std::span<const std::byte> piece) {
              response.body.append(reinterpret_cast<const char*>(piece.data()), piece.size());
              return true;
            });
  backend.metrics.blob_bytes("out", static_cast<double>(response.body.size()));
  response.length = response.body.size();
  response.next_piece = [body = std::make_shared<std::string>(std::move(response.body))] {
    return std::exchange(*body, {});  // as a piece it is written in parts, each with a time limit of its own
  };
  return response;
}

}  // namespace wring

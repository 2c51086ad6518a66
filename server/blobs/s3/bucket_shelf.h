// Blobs in a bucket: PREFIX/blobs/<64 hex>, one object each.
#pragma once

#include <memory>
#include <string>

#include "server/blobs/s3/s3_client.h"
#include "server/blobs/shelf.h"

namespace wring {

// A blob is whole on the server's disk before it comes here; from there it goes as multipart.h says. The
// service verifies the digest of each body that is sent.
class BucketShelf final : public BlobShelf {
 public:
  // Asks the bucket whether it is there. Throws Error(kFailedPrecondition, "NO_BUCKET"), and as
  // S3Client::send().
  BucketShelf(S3Place place, S3Keys keys);

  bool has(const Digest& digest) const override;
  std::unique_ptr<ShelvedBlob> open(const Digest& digest) const override;
  std::uint64_t size(const Digest& digest) const override;
  std::vector<Digest> all() const override;
  bool renew(const Digest& digest) override;
  void put(const Digest& digest, const std::filesystem::path& part) override;
  // By the service's clock: `before` should leave more than the clocks differ.
  std::uint64_t remove_older(const Digest& digest, std::filesystem::file_time_type before) override;
  std::uint64_t forget_unfinished(std::filesystem::file_time_type before) override;
  std::string set_aside(const Digest& digest) override;
  std::string owner() const override;
  void set_owner(const std::string& database) override;

 private:
  bool copy(const std::string& from, const std::string& to) const;

  std::unique_ptr<S3Client> client_;
};

}  // namespace wring

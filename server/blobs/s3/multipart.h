// Blobs that go to a bucket in parts (S3's multipart uploads), so that what breaks off goes on from the parts
// that have arrived.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/digest.h"
#include "server/blobs/s3/s3_client.h"

namespace wring {

// Of each part but the last; S3 takes none below 5 MiB.
inline constexpr std::uint64_t kPartBytes = 8u << 20;

// Makes the object `key` of the file: by one PUT where it is no larger than a part. Else sends no part that
// an earlier call for `key`, of any process, has sent: the bucket is asked which parts of which uploads it
// has, and one counts whose size and ETag, which is its MD5, are those of the file's bytes (a service with
// ETags of other kinds gets all parts again). There is no object before all is there and the bytes that were
// read are those of `digest`. An upload that cannot become the object is aborted; one that broke off stays,
// for abort_uploads(). Throws kDataLoss "DIGEST_MISMATCH", and as S3Client::send().
void put_file(S3Client& client, const std::string& key, const Digest& digest,
              const std::filesystem::path& file);

// Aborts the uploads of blobs, whose keys are `prefix` and a digest, that were begun before (seconds since
// the epoch, by the service's clock). Returns how many. One that is still being sent begins anew.
std::uint64_t abort_uploads(S3Client& client, const std::string& prefix, std::int64_t before);

}  // namespace wring

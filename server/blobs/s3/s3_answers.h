// What an S3 service says in XML: of a bucket's objects and of uploads in parts, a page at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wring {

// Each of these throws Error(kInternal, "S3_ANSWER") for what is no such answer, also where elements lie
// deeper in each other than any answer has them.

// One page of a bucket's list (ListObjectsV2): the names behind `prefix`, and where the next one begins.
struct BucketPage {
  std::vector<std::string> names;
  std::string next;  // continuation token; empty: this was the last one
};
BucketPage parse_bucket_page(const std::string& xml, const std::string& prefix);

// An upload in parts (CreateMultipartUpload) that is neither completed nor aborted.
struct BegunUpload {
  std::string key, id;
  std::int64_t begun = -1;  // seconds since the epoch; -1: not told
};
// One page of a bucket's begun uploads (ListMultipartUploads).
struct UploadsPage {
  std::vector<BegunUpload> uploads;
  std::string next_key, next_id;  // markers of the next page; no key: this was the last one
};
UploadsPage parse_uploads_page(const std::string& xml);

// The id in the answer of CreateMultipartUpload.
std::string parse_upload_id(const std::string& xml);

struct UploadedPart {
  std::uint64_t number = 0, bytes = 0;  // counted from 1
  std::string etag;
};
// The first page of an upload's parts (ListParts), which holds a thousand.
std::vector<UploadedPart> parse_parts(const std::string& xml);

// Without its quotes. Throws also where it could not stand in XML as it is.
std::string plain_etag(std::string etag);

}  // namespace wring

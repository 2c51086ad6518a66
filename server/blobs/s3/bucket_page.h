// What an S3 service says of a bucket's objects, a page at a time.
#pragma once

#include <string>
#include <vector>

namespace wring {

// One page of a bucket's list (ListObjectsV2): the names behind `prefix`, and where the next one begins.
struct BucketPage {
  std::vector<std::string> names;
  std::string next;  // continuation token; empty: this was the last one
};

// Throws Error(kInternal, "S3_ANSWER"), also where elements lie deeper in each other than any list has them.
BucketPage parse_bucket_page(const std::string& xml, const std::string& prefix);

}  // namespace wring

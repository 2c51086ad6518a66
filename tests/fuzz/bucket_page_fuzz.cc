// Any bytes as the list of a bucket: refused with an Error, or names and a token.
#include "server/blobs/s3/bucket_page.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success(
      [&] { parse_bucket_page(std::string(fuzz::text_of(data, size)), "blobs/"); });
}

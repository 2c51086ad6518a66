// Any bytes as each of S3's answers: refused with an Error, or read.
#include "server/blobs/s3/s3_answers.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  const std::string xml(fuzz::text_of(data, size));
  fuzz::expect_error_or_success([&] { parse_bucket_page(xml, "blobs/"); });
  fuzz::expect_error_or_success([&] { parse_uploads_page(xml); });
  fuzz::expect_error_or_success([&] { parse_upload_id(xml); });
  fuzz::expect_error_or_success([&] { parse_parts(xml); });
  return 0;
}

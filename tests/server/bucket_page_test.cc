// Lists of a bucket, as services write them.
#include "server/blobs/s3/bucket_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(BucketPage, HasTheNamesBehindThePrefixAndWhereTheNextOneBegins) {
  const auto page = parse_bucket_page(
      R"(<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>)"
      R"(<Prefix>w/blobs/</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>1/a=&amp;</NextContinuationToken>)"
      R"(<Contents><Key>w/blobs/aa</Key><Size>3</Size></Contents><Contents><Key>w/blobs/bb</Key></Contents><Contents><Key>other</Key></Contents></ListBucketResult>)",
      "w/blobs/");
  EXPECT_THAT(page.names, ElementsAre("aa", "bb"));
  EXPECT_EQ(page.next, "1/a=&");
}

TEST(BucketPage, OfAnEmptyBucketIsEmpty) {
  const auto page =
      parse_bucket_page("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", "blobs/");
  EXPECT_THAT(page.names, IsEmpty());
  EXPECT_THAT(page.next, IsEmpty());
}

TEST(BucketPage, ThatIsNoneIsAnError) {
  for (const char* xml : {"", "<html>no</html>", "<ListBucketResult>",
                          "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
                          "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"})
    EXPECT_EQ(thrown_by([&] { parse_bucket_page(xml, ""); }).reason(), "S3_ANSWER") << xml;
}

TEST(BucketPage, ThatLiesDeeperThanAnyListIsAnErrorAndNoEndOfTheProcess) {
  std::string xml;
  for (int i = 0; i < 1'000'000; ++i) xml += "<a>";
  EXPECT_EQ(thrown_by([&] { parse_bucket_page(xml, ""); }).reason(), "S3_ANSWER");
}

}  // namespace
}  // namespace wring

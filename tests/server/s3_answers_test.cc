// Answers of S3 services, as they write them.
#include "server/blobs/s3/s3_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

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

TEST(UploadsPage, HasWhatWasBegunAndWhereTheNextOneBegins) {
  const auto page = parse_uploads_page(
      R"(<?xml version="1.0" encoding="UTF-8"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket>)"
      R"(<KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker><NextKeyMarker>w/blobs/bb</NextKeyMarker><NextUploadIdMarker>Xy_.-</NextUploadIdMarker>)"
      R"(<IsTruncated>true</IsTruncated><Upload><Key>w/blobs/aa</Key><UploadId>VX&amp;</UploadId><Initiator><ID>i</ID></Initiator><Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>)"
      R"(<Upload><Key>w/blobs/bb</Key><UploadId>Xy_.-</UploadId><Initiated>yesterday</Initiated></Upload></ListMultipartUploadsResult>)");
  ASSERT_THAT(page.uploads, SizeIs(2));
  EXPECT_EQ(page.uploads[0].key, "w/blobs/aa");
  EXPECT_EQ(page.uploads[0].id, "VX&");
  EXPECT_EQ(page.uploads[0].begun, 1'289'422'113);  // date -u -d 2010-11-10T20:48:33Z +%s
  EXPECT_EQ(page.uploads[1].begun, -1);
  EXPECT_EQ(page.next_key, "w/blobs/bb");
  EXPECT_EQ(page.next_id, "Xy_.-");
}

TEST(UploadsPage, ThatIsTheLastOneHasNoNextOneWhateverItsMarkersSay) {
  const auto page = parse_uploads_page(
      "<ListMultipartUploadsResult><NextKeyMarker>a</NextKeyMarker><IsTruncated>false</IsTruncated></"
      "ListMultipartUploadsResult>");
  EXPECT_THAT(page.uploads, IsEmpty());
  EXPECT_THAT(page.next_key, IsEmpty());
}

TEST(UploadId, IsThatOfTheAnswer) {
  EXPECT_EQ(parse_upload_id("<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>VXBs</"
                            "UploadId></InitiateMultipartUploadResult>"),
            "VXBs");
}

TEST(Parts, HaveTheirNumberSizeAndEtagWithoutQuotes) {
  const auto parts = parse_parts(
      R"(<ListPartsResult><UploadId>x</UploadId><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber><LastModified>2010-11-10T20:48:34.000Z</LastModified>)"
      R"(<ETag>"7778aef83f66abc1fa1e8477f296d394"</ETag><Size>10485760</Size></Part><Part><PartNumber>3</PartNumber><ETag>&quot;aaaa&quot;</ETag><Size>1</Size></Part></ListPartsResult>)");
  ASSERT_THAT(parts, SizeIs(2));
  EXPECT_EQ(parts[0].number, 2u);
  EXPECT_EQ(parts[0].bytes, 10'485'760u);
  EXPECT_EQ(parts[0].etag, "7778aef83f66abc1fa1e8477f296d394");
  EXPECT_EQ(parts[1].etag, "aaaa");
}

TEST(S3Answers, ThatAreNoneAreErrors) {
  const std::string long_id(2000, 'x');
  for (const std::string& xml :
       {std::string("<html>no</html>"),
        std::string("<ListMultipartUploadsResult><Upload><Key>k</Key></Upload></ListMultipartUploadsResult>"),
        std::string("<ListMultipartUploadsResult><Upload><UploadId>x</UploadId></Upload></"
                    "ListMultipartUploadsResult>"),
        std::string(
            "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>")})
    EXPECT_EQ(thrown_by([&] { parse_uploads_page(xml); }).reason(), "S3_ANSWER") << xml;
  for (const std::string& id : {std::string(), long_id})
    EXPECT_EQ(thrown_by([&] {
                parse_upload_id("<InitiateMultipartUploadResult><UploadId>" + id +
                                "</UploadId></InitiateMultipartUploadResult>");
              }).reason(),
              "S3_ANSWER");
  for (const char* part : {"<PartNumber>1</PartNumber><Size>1</Size>",
                           "<PartNumber>one</PartNumber><Size>1</Size><ETag>a</ETag>",
                           "<PartNumber>1</PartNumber><Size>1</Size><ETag>&lt;a&gt;</ETag>",
                           "<PartNumber>1</PartNumber><Size>1</Size><ETag></ETag>"})
    EXPECT_EQ(thrown_by([&] {
                parse_parts("<ListPartsResult><Part>" + std::string(part) + "</Part></ListPartsResult>");
              }).reason(),
              "S3_ANSWER")
        << part;
}

}  // namespace
}  // namespace wring

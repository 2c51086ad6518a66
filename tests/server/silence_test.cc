// Clients that stay connected and move nothing.
#include <thread>

#include "tests/server/test_service.h"

namespace wring {
namespace {

class Silence : public Service {
 protected:
  // The server starts again with this limit.
  void limit(double seconds) {
    silence_seconds_ = seconds;
    start();
  }
};

TEST_F(Silence, EndsAnUploadWhichGoesOnWhereItStood) {
  const std::string content(3000, 'x');
  limit(0.3);
  {
    grpc::ClientContext context;
    v1::WriteBlobResponse response;
    const auto writer = artifacts_->WriteBlob(&context, &response);
    ASSERT_TRUE(writer->Write(pieces(content, "silent", 0, 1000).front()));
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  limit(60);
  v1::QueryWriteStatusRequest query;
  query.set_digest(sha256(content).hex());
  query.set_upload_id("silent");
  EXPECT_EQ(call(*artifacts_, &v1::Artifacts::Stub::QueryWriteStatus, query).committed_size(), 1000u);
  EXPECT_EQ(write_blob(pieces(content, "silent", 1000, 3000)), 3000u);
}

TEST_F(Silence, EndsADownloadThatNobodyTakes) {
  const std::string content(32u << 20, 'x');
  upload(content);
  limit(0.3);
  grpc::ClientContext context;
  v1::ReadBlobRequest request;
  request.set_digest(sha256(content).hex());
  const auto reader = artifacts_->ReadBlob(&context, request);
  while (server_->metrics.text().find("ReadBlob") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  v1::ReadBlobResponse response;
  std::size_t taken = 0;
  while (reader->Read(&response)) taken += response.data().size();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(taken, content.size());
}

TEST_F(Silence, IsNotThatOfAWatchedJobThatWaits) {
  const auto id = submit().id();
  limit(0.3);
  grpc::ClientContext context;
  v1::WatchJobRequest request;
  request.set_id(id);
  const auto reader = jobs_->WatchJob(&context, request);
  v1::Event event;
  ASSERT_TRUE(reader->Read(&event));
  std::this_thread::sleep_for(std::chrono::milliseconds(900));
  cancel(id);
  while (reader->Read(&event)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

}  // namespace
}  // namespace wring

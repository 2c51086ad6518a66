// A server in memory with just the calls that the client library's tests need, on a loopback port.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/client.h"
#include "common/digest.h"
#include "formats/manifest.h"
#include "proto/rpc/status.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"

namespace wring {

// Jobs: one job; each WatchJob call is answered by the next of `watches`, by the last when there are no more.
class FakeJobs final : public v1::Jobs::Service {
 public:
  using Watch = std::function<grpc::Status(const v1::WatchJobRequest&, grpc::ServerWriter<v1::Event>&)>;

  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest*, v1::Job* job) override {
    const std::lock_guard lock(mutex);
    const auto token = context->client_metadata().find("authorization");
    if (token != context->client_metadata().end())
      seen_token.assign(token->second.data(), token->second.size());
    if (cancels > 0) return --cancels, grpc::Status(grpc::StatusCode::CANCELLED, "the server stops");
    *job = this->job;
    return grpc::Status::OK;
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::Event>* writer) override {
    Watch watch;
    {
      const std::lock_guard lock(mutex);
      cursors.push_back(request->after_event());
      watch = watches.at(std::min(cursors.size(), watches.size()) - 1);
    }
    return watch(*request, *writer);
  }

  std::mutex mutex;
  int cancels = 0;  // so many answers to GetJob
  v1::Job job;
  std::vector<Watch> watches;
  std::vector<std::uint64_t> cursors;  // after_event of each WatchJob
  std::string seen_token;
};

// Artifacts: blobs and manifests in maps.
class FakeArtifacts final : public v1::Artifacts::Service {
 public:
  grpc::Status FindMissingBlobs(grpc::ServerContext*, const v1::FindMissingBlobsRequest* request,
                                v1::FindMissingBlobsResponse* response) override {
    const std::lock_guard lock(mutex);
    for (const auto& digest : request->digests())
      if (!blobs.contains(digest)) response->add_missing(digest);
    return grpc::Status::OK;
  }
  grpc::Status WriteBlob(grpc::ServerContext*, grpc::ServerReader<v1::WriteBlobRequest>* reader,
                         v1::WriteBlobResponse* response) override {
    v1::WriteBlobRequest request;
    std::string digest, data;
    while (reader->Read(&request)) {
      if (!request.digest().empty()) digest = request.digest();
      data += request.data();
    }
    const std::lock_guard lock(mutex);
    ++writes;
    response->set_committed_size(data.size());
    blobs[digest] = data;
    return grpc::Status::OK;
  }
  grpc::Status ReadBlob(grpc::ServerContext*, const v1::ReadBlobRequest* request,
                        grpc::ServerWriter<v1::ReadBlobResponse>* writer) override {
    const std::lock_guard lock(mutex);
    ++reads;
    v1::ReadBlobResponse response;
    response.set_data(blobs.at(request->digest()).substr(request->offset()));
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status CommitArtifact(grpc::ServerContext*, const v1::CommitArtifactRequest* request,
                              v1::Artifact* artifact) override {
    const std::lock_guard lock(mutex);
    const auto manifest = Manifest::parse(request->manifest_json());
    if (lose_at_commit > 0) --lose_at_commit, blobs.erase(manifest.files.at(0).chunks.at(0).digest.hex());
    for (const auto& file : manifest.files)
      for (const auto& chunk : file.chunks)
        if (!blobs.contains(chunk.digest.hex()))
          return to_status(Error(ErrorCode::kFailedPrecondition, "MISSING_BLOBS", chunk.digest.hex()));
    const auto digest = manifest.digest().hex();
    manifests[digest] = request->manifest_json();
    return fill(digest, *artifact);
  }
  grpc::Status GetArtifact(grpc::ServerContext*, const v1::GetArtifactRequest* request,
                           v1::Artifact* artifact) override {
    const std::lock_guard lock(mutex);
    return fill(request->digest(), *artifact);
  }

  std::mutex mutex;
  std::map<std::string, std::string> blobs, manifests;
  int writes = 0, reads = 0;
  int lose_at_commit = 0;  // how many commits find a chunk gone that was there

 private:
  grpc::Status fill(const std::string& prefix, v1::Artifact& artifact) {
    for (const auto& [digest, manifest] : manifests) {
      if (!digest.starts_with(prefix)) continue;
      artifact.set_digest(digest);
      artifact.set_manifest_json(manifest);
      return grpc::Status::OK;
    }
    return to_status(Error(ErrorCode::kNotFound, "NO_SUCH_ARTIFACT", "there is no artifact " + prefix));
  }
};

struct FakeServer {
  FakeServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&jobs);
    builder.RegisterService(&artifacts);
    server = builder.BuildAndStart();
  }
  ClientConfig config(const std::string& token = {}) const {
    return {"127.0.0.1:" + std::to_string(port), token, "test"};
  }

  FakeJobs jobs;
  FakeArtifacts artifacts;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

}  // namespace wring

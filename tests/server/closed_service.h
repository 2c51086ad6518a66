// A server that needs tokens, and people who have some.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "formats/manifest.h"
#include "server/store/audit_rows.h"
#include "tests/server/test_service.h"
#include "wring/v1/tokens.grpc.pb.h"

namespace wring {

// Calls are made through stubs with the token of somebody.
struct Somebody {
  Somebody(int port, const std::string& secret, const std::string& job = {})
      : channel(make_channel("127.0.0.1:" + std::to_string(port), {secret, "", "", "", job})),
        jobs(v1::Jobs::NewStub(channel)),
        artifacts(v1::Artifacts::NewStub(channel)),
        projects(v1::Projects::NewStub(channel)),
        workers(v1::Workers::NewStub(channel)),
        evaluations(v1::Evaluations::NewStub(channel)),
        sweeps(v1::Sweeps::NewStub(channel)),
        tokens(v1::Tokens::NewStub(channel)) {}
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Artifacts::Stub> artifacts;
  std::unique_ptr<v1::Projects::Stub> projects;
  std::unique_ptr<v1::Workers::Stub> workers;
  std::unique_ptr<v1::Evaluations::Stub> evaluations;
  std::unique_ptr<v1::Sweeps::Stub> sweeps;
  std::unique_ptr<v1::Tokens::Stub> tokens;
};

class Closed : public Service {
 protected:
  Closed() { admin_ = secret(Scope::kAdmin); }

  std::string secret(Scope scope, const std::string& project = {}, TimeMs expire_time = 0) {
    Token token;
    token.scope = scope;
    token.project = project;
    token.expire_time = expire_time;
    return server_->tokens.create(token, server_->clock.now_ms()).second;
  }
  Somebody with(const std::string& secret) { return {server_->grpc.port(), secret}; }
  // Of a worker, for a job that it has leased.
  Somebody with(const std::string& secret, const std::string& job) {
    return {server_->grpc.port(), secret, job};
  }
  Somebody somebody(Scope scope, const std::string& project = {}) { return with(secret(scope, project)); }

  // From here on add_worker(), lease() and finish() are calls of a worker, whose token this is.
  std::string become_worker() {
    auto token = secret(Scope::kWorker);
    workers_ = v1::Workers::NewStub(with(token).channel);
    add_worker();
    return token;
  }

  static v1::ListJobsResponse list(const Somebody& who) {
    return call(*who.jobs, &v1::Jobs::Stub::ListJobs, v1::ListJobsRequest());
  }
  static std::string refusal(const std::function<void()>& action) { return thrown_by(action).reason(); }

  static void put_blob(const Somebody& who, const std::string& blob, const std::string& id = random_uuid()) {
    grpc::ClientContext context;
    v1::WriteBlobResponse response;
    const auto writer = who.artifacts->WriteBlob(&context, &response);
    for (const auto& message : pieces(blob, id, 0, blob.size()))
      if (!writer->Write(message)) break;
    writer->WritesDone();
    check(writer->Finish());
    ASSERT_EQ(response.committed_size(), blob.size());
  }
  static std::string manifest_of(const std::string& content) {
    Manifest manifest;
    manifest.kind = "model";
    manifest.files = {{"file", content.size(), {{sha256(content), content.size()}}}};
    return manifest.canonical();
  }
  static v1::Artifact commit(const Somebody& who, const std::string& content, const std::string& name = "") {
    v1::CommitArtifactRequest request;
    request.set_manifest_json(manifest_of(content));
    request.set_name(name);
    return call(*who.artifacts, &v1::Artifacts::Stub::CommitArtifact, request);
  }
  static std::string put(const Somebody& who, const std::string& content, const std::string& name = "") {
    put_blob(who, content);
    return commit(who, content, name).digest();
  }
  static v1::Job submit(const Somebody& who, const std::string& model, const std::string& project = "",
                        const std::string& request_id = random_uuid()) {
    v1::SubmitJobRequest request;
    request.set_request_id(request_id);
    request.mutable_spec()->set_recipe("rtn(bits=4)");
    request.mutable_spec()->set_model(model);
    request.mutable_spec()->set_project(project);
    return call(*who.jobs, &v1::Jobs::Stub::SubmitJob, request);
  }
  static std::vector<std::string> missing(const Somebody& who, const std::string& content) {
    v1::FindMissingBlobsRequest request;
    request.add_digests(sha256(content).hex());
    const auto answer = call(*who.artifacts, &v1::Artifacts::Stub::FindMissingBlobs, request);
    return {answer.missing().begin(), answer.missing().end()};
  }
  static std::string read(const Somebody& who, const std::string& content) {
    grpc::ClientContext context;
    v1::ReadBlobRequest request;
    request.set_digest(sha256(content).hex());
    const auto reader = who.artifacts->ReadBlob(&context, request);
    std::string bytes;
    for (v1::ReadBlobResponse piece; reader->Read(&piece);) bytes += piece.data();
    check(reader->Finish());
    return bytes;
  }
  v1::Project set_quota(const std::string& project, const Quota& quota) {
    v1::SetQuotaRequest request;
    request.set_name(project);
    request.mutable_quota()->set_queued(quota.queued);
    request.mutable_quota()->set_running(quota.running);
    request.mutable_quota()->set_bytes(quota.bytes);
    return call(*with(admin_).projects, &v1::Projects::Stub::SetQuota, request);
  }
  std::vector<AuditEntry> audit() {
    return server_->store.read([](Connection& db) { return audit_entries(db, 0, 1000); });
  }

  std::string admin_;
};

}  // namespace wring

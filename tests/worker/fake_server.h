// A server in memory, in this process: artifacts and one queue of jobs, with faults to order.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/digest.h"
#include "common/json.h"
#include "formats/manifest.h"
#include "proto/rpc/status.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring::test {

// What a fake engine is to do: ["stage", "name"], "result", ... (fake_engine.py). No Json, whose braces make
// objects of lists of pairs.
using Actions = std::vector<Json>;

class FakeArtifacts final : public v1::Artifacts::Service {
 public:
  std::string put_blob(const std::string& bytes) {
    const std::lock_guard lock(mutex);
    const auto hex = sha256(bytes).hex();
    blobs[hex] = bytes;
    return hex;
  }

  // An artifact of one file. Returns its digest.
  std::string put_artifact(const std::string& kind, const std::string& path,
                           const std::vector<std::string>& chunks) {
    Manifest manifest{.kind = kind, .files = {{path, 0, {}}}};
    for (const auto& chunk : chunks) {
      manifest.files[0].chunks.push_back({Digest::parse(put_blob(chunk)), chunk.size()});
      manifest.files[0].size += chunk.size();
    }
    const std::lock_guard lock(mutex);
    manifests[manifest.digest().hex()] = manifest.canonical();
    return manifest.digest().hex();
  }

  grpc::Status FindMissingBlobs(grpc::ServerContext*, const v1::FindMissingBlobsRequest* request,
                                v1::FindMissingBlobsResponse* response) override {
    const std::lock_guard lock(mutex);
    for (const auto& digest : request->digests())
      if (!blobs.contains(digest)) response->add_missing(digest);
    return grpc::Status::OK;
  }

  grpc::Status WriteBlob(grpc::ServerContext*, grpc::ServerReader<v1::WriteBlobRequest>* reader,
                         v1::WriteBlobResponse* response) override {
    ++write_streams;
    v1::WriteBlobRequest request;
    if (!reader->Read(&request)) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "empty");
    const auto digest = request.digest(), id = request.upload_id();
    const auto size = request.size();
    const std::lock_guard lock(mutex);
    if (blobs.contains(digest)) {
      response->set_committed_size(size);
      return grpc::Status::OK;
    }
    auto& upload = uploads[id];
    do {
      if (request.write_offset() != upload.size())
        return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "offset");
      upload += request.data();
      received += request.data().size();
      if (break_writes_after > 0 && upload.size() >= break_writes_after) {
        break_writes_after = 0;
        if (tear_what_is_there) upload.back() = static_cast<char>(upload.back() + 1);
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
      }
    } while (reader->Read(&request));
    if (upload.size() == size) {
      if (sha256(upload).hex() != digest) {
        uploads.erase(id);
        return to_status(Error(ErrorCode::kDataLoss, "DIGEST_MISMATCH", "not what its digest says"));
      }
      blobs[digest] = upload;
    }
    response->set_committed_size(upload.size());
    return grpc::Status::OK;
  }

  grpc::Status QueryWriteStatus(grpc::ServerContext*, const v1::QueryWriteStatusRequest* request,
                                v1::QueryWriteStatusResponse* response) override {
    const std::lock_guard lock(mutex);
    response->set_complete(blobs.contains(request->digest()));
    const auto upload = uploads.find(request->upload_id());
    if (upload == uploads.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such upload");
    response->set_committed_size(upload->second.size());
    return grpc::Status::OK;
  }

  grpc::Status ReadBlob(grpc::ServerContext*, const v1::ReadBlobRequest* request,
                        grpc::ServerWriter<v1::ReadBlobResponse>* writer) override {
    ++read_streams;
    std::string bytes;
    {
      const std::lock_guard lock(mutex);
      const auto it = blobs.find(request->digest());
      if (it == blobs.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such blob");
      bytes = it->second;
    }
    constexpr std::size_t kPiece = 1 << 16;
    for (std::size_t at = request->offset(); at < bytes.size(); at += kPiece) {
      v1::ReadBlobResponse response;
      response.set_data(bytes.substr(at, kPiece));
      writer->Write(response);
      sent += response.data().size();
      if (break_reads_after > 0 && at + kPiece >= break_reads_after) {
        break_reads_after = 0;
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status CommitArtifact(grpc::ServerContext*, const v1::CommitArtifactRequest* request,
                              v1::Artifact* response) override {
    const auto manifest = Manifest::parse(request->manifest_json());
    const std::lock_guard lock(mutex);
    if (lose_at_commit > 0) --lose_at_commit, blobs.erase(manifest.files.at(0).chunks.at(0).digest.hex());
    for (const auto& file : manifest.files)
      for (const auto& chunk : file.chunks)
        if (!blobs.contains(chunk.digest.hex()))
          return to_status(Error(ErrorCode::kFailedPrecondition, "MISSING_BLOBS", chunk.digest.hex()));
    manifests[manifest.digest().hex()] = manifest.canonical();
    response->set_digest(manifest.digest().hex());
    return grpc::Status::OK;
  }

  grpc::Status GetArtifact(grpc::ServerContext*, const v1::GetArtifactRequest* request,
                           v1::Artifact* response) override {
    const std::lock_guard lock(mutex);
    const auto it = manifests.find(request->digest());
    if (it == manifests.end())
      return to_status(Error(ErrorCode::kNotFound, "NO_SUCH_ARTIFACT", "no artifact " + request->digest()));
    response->set_digest(request->digest());
    response->set_manifest_json(it->second);
    return grpc::Status::OK;
  }

  // The bytes, or "" where there is no such blob.
  std::string blob(const std::string& digest) {
    const std::lock_guard lock(mutex);
    const auto it = blobs.find(digest);
    return it == blobs.end() ? "" : it->second;
  }

  std::mutex mutex;
  std::map<std::string, std::string> blobs, manifests, uploads;
  int lose_at_commit = 0;  // how many commits find a chunk gone that was there
  std::atomic<std::size_t> break_writes_after = 0, break_reads_after = 0;  // bytes, once; 0: never
  std::atomic<bool> tear_what_is_there = false;                            // where it breaks a write
  std::atomic<std::size_t> received = 0, sent = 0;
  std::atomic<int> write_streams = 0, read_streams = 0;
};

class FakeWorkers final : public v1::Workers::Service {
 public:
  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override {
    const std::lock_guard lock(mutex);
    registered.push_back(request->worker());
    response->set_heartbeat_seconds(0.2);
    return grpc::Status::OK;
  }

  grpc::Status LeaseJob(grpc::ServerContext* context, const v1::LeaseJobRequest* request,
                        v1::LeaseJobResponse* response) override {
    const Stopwatch watch;
    std::unique_lock lock(mutex);
    ++leasing;
    while (queue.empty() && watch.seconds() < request->wait_seconds() && !closing && !context->IsCancelled())
      changed.wait_for(lock, std::chrono::milliseconds(20));
    if (!queue.empty() && !closing && !context->IsCancelled()) {
      *response = queue.front();
      queue.pop_front();
    }
    --leasing;
    changed.notify_all();
    return grpc::Status::OK;
  }

  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    const std::lock_guard lock(mutex);
    ++heartbeats;
    if (request->has_use()) use = request->use();
    response->set_register_again(std::exchange(ask_register, false));
    for (const auto& lease : request->leases()) {
      for (const auto& p : lease.progress()) progress.push_back(p);
      for (const auto& line : lease.log()) log.push_back(line);
      auto* const answer = response->add_answers();
      answer->set_job_id(lease.job_id());
      answer->set_action(action);
    }
    return grpc::Status::OK;
  }

  grpc::Status ReportStage(grpc::ServerContext*, const v1::ReportStageRequest* request,
                           v1::ReportStageResponse*) override {
    const std::lock_guard lock(mutex);
    if (stale) return to_status(Error(ErrorCode::kFailedPrecondition, "STALE_LEASE", "another has it"));
    reports.push_back(*request);
    changed.notify_all();
    return grpc::Status::OK;
  }

  grpc::Status FinishAttempt(grpc::ServerContext*, const v1::FinishAttemptRequest* request,
                             v1::FinishAttemptResponse*) override {
    const std::lock_guard lock(mutex);
    if (stale) return to_status(Error(ErrorCode::kFailedPrecondition, "STALE_LEASE", "another has it"));
    finished.push_back(*request);
    changed.notify_all();
    return grpc::Status::OK;
  }

  grpc::Status FindStage(grpc::ServerContext*, const v1::FindStageRequest* request,
                         v1::FindStageResponse* response) override {
    const std::lock_guard lock(mutex);
    ++stage_questions;
    const auto it = stages.find(request->key());
    if (it == stages.end()) return grpc::Status::OK;
    response->set_found(true);
    response->set_manifest_json(it->second.manifest_json());
    response->set_seconds(it->second.seconds());
    return grpc::Status::OK;
  }

  grpc::Status KeepStage(grpc::ServerContext*, const v1::KeepStageRequest* request,
                         v1::KeepStageResponse* response) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(keep_ms));
    const std::lock_guard lock(mutex);
    const auto& kept = stages.emplace(request->key(), *request).first->second;
    response->set_digest(Manifest::parse(kept.manifest_json()).digest().hex());
    changed.notify_all();
    return grpc::Status::OK;
  }

  bool wait_stages(std::size_t count, double seconds = 60) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::duration<double>(seconds),
                            [&] { return stages.size() >= count; });
  }

  // Waits for the `count`-th FinishAttempt; an empty one where none comes in time.
  v1::FinishAttemptRequest wait_finished(std::size_t count = 1, double seconds = 120) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return finished.size() >= count; });
    return finished.size() >= count ? finished[count - 1] : v1::FinishAttemptRequest{};
  }

  // Whether no call waits for a job any more: one whose worker is gone would take the next worker's.
  bool wait_no_lease(double seconds = 120) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return leasing == 0; });
  }

  bool wait_report(const std::string& name, const std::string& state, double seconds = 120) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
      for (const auto& report : reports)
        if (report.stage().name() == name && report.stage().state() == state) return true;
      return false;
    });
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<v1::LeaseJobResponse> queue;
  std::vector<v1::Worker> registered;
  std::vector<v1::ReportStageRequest> reports;
  std::vector<v1::FinishAttemptRequest> finished;
  std::vector<v1::Progress> progress;
  std::vector<std::string> log;                        // lines of heartbeats
  std::map<std::string, v1::KeepStageRequest> stages;  // by key; the first one
  int stage_questions = 0;
  int keep_ms = 0;  // that it takes to keep a stage
  std::string action = "continue";
  bool stale = false, closing = false, ask_register = false;
  int heartbeats = 0, leasing = 0;
  v1::WorkerUse use;  // of the newest heartbeat that told it
};

// Both services on a port of 127.0.0.1; the port stays its own through stop() and start().
class FakeServer {
 public:
  FakeServer() { start(); }
  ~FakeServer() { stop(); }

  void start() {
    workers.closing = false;
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(32 << 20);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&artifacts);
    builder.RegisterService(&workers);
    server_ = builder.BuildAndStart();
  }
  void stop() {
    if (!server_) return;
    {
      const std::lock_guard lock(workers.mutex);
      workers.closing = true;
    }
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    server_.reset();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Queues a job whose fake engine does `actions`.
  void enqueue(const std::string& id, const Actions& actions,
               const std::function<void(v1::JobSpec&)>& edit = {}) {
    v1::LeaseJobResponse lease;
    lease.set_leased(true);
    lease.mutable_job()->set_id(id);
    lease.mutable_job()->mutable_spec()->set_name(id);
    lease.mutable_job()->mutable_spec()->set_model(model);
    lease.mutable_fence()->set_epoch(1);
    lease.mutable_fence()->set_n(7);
    lease.set_normal_form_json(Json{{"do", actions}}.dump());
    if (edit) edit(*lease.mutable_job()->mutable_spec());
    const std::lock_guard lock(workers.mutex);
    workers.queue.push_back(lease);
    workers.changed.notify_all();
  }

  FakeArtifacts artifacts;
  FakeWorkers workers;
  std::string model =
      artifacts.put_artifact("model", "weights", {std::string(3000, 'a'), std::string(2000, 'b')});

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace wring::test

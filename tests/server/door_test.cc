// Who may call what, what one project sees of another, quotas, and the audit log.
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "server/upkeep/collect.h"
#include "tests/server/closed_service.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// "Jobs/SubmitJob" for every method of every service in proto/wring/v1.
std::vector<const google::protobuf::MethodDescriptor*> all_methods() {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const auto& entry : fs::directory_iterator(fs::path(WRING_PROTO_DIR) / "wring/v1")) {
    const auto name = "wring/v1/" + entry.path().filename().string();
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
    EXPECT_NE(file, nullptr) << name;
    for (int s = 0; file && s < file->service_count(); ++s)
      for (int m = 0; m < file->service(s)->method_count(); ++m)
        methods.push_back(file->service(s)->method(m));
  }
  return methods;
}

std::string name_of(const google::protobuf::MethodDescriptor* method) {
  return method->service()->name() + "/" + method->name();
}

TEST(AccessTable, HasARuleForEachMethodOfTheApiAndForNothingElse) {
  std::set<std::string> methods, rules;
  for (const auto* method : all_methods()) methods.insert(name_of(method));
  for (const auto& access : access_table()) rules.emplace(access.method);
  EXPECT_GT(methods.size(), 30u);
  EXPECT_EQ(rules, methods);
  EXPECT_EQ(rules.size(), access_table().size());
}

TEST_F(Closed, LetsNobodyIntoAnyMethodWithoutAToken) {
  grpc::GenericStub stub(channel_);
  for (const auto* method : all_methods()) {
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice nothing("");
    const auto call =
        stub.PrepareUnaryCall(&context, "/" + method->service()->full_name() + "/" + method->name(),
                              grpc::ByteBuffer(&nothing, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << name_of(method);
  }
}

TEST_F(Closed, TellsTokensThatAreUnknownExpiredAndRevokedApart) {
  const auto soon = server_->clock.now_ms() + 300;
  const auto expiring = secret(Scope::kViewer, "a", soon);
  list(with(expiring));
  while (server_->clock.now_ms() <= soon) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(refusal([&] { list(with(expiring)); }), "TOKEN_EXPIRED");
  EXPECT_EQ(refusal([&] { list(with("wring_nonsense")); }), "BAD_TOKEN");
  EXPECT_EQ(refusal([&] { list(with("")); }), "NO_TOKEN");

  const auto admin = with(admin_);
  v1::CreateTokenRequest request;
  request.set_scope("viewer");
  request.set_project("a");
  const auto made = call(*admin.tokens, &v1::Tokens::Stub::CreateToken, request);
  list(with(made.secret()));
  v1::RevokeTokenRequest revoke;
  revoke.set_id(made.token().id());
  call(*admin.tokens, &v1::Tokens::Stub::RevokeToken, revoke);
  EXPECT_EQ(refusal([&] { list(with(made.secret())); }), "TOKEN_REVOKED");
  start();
  EXPECT_EQ(refusal([&] { list(with(made.secret())); }), "TOKEN_REVOKED") << "after a restart";
  list(with(admin_));
}

TEST_F(Closed, KeepsNoSecretInItsFiles) {
  server_.reset();
  for (const auto& entry : fs::directory_iterator(folder_.path()))
    if (entry.is_regular_file()) {
      EXPECT_THAT(read_file(entry.path()), testing::Not(HasSubstr(admin_.substr(6)))) << entry.path();
    }
}

TEST_F(Closed, ScopesLimitWhatTokensMayCall) {
  const auto viewer = somebody(Scope::kViewer, "a"), submitter = somebody(Scope::kSubmitter, "a"),
             worker = somebody(Scope::kWorker), admin = with(admin_);
  const auto model = put(submitter, "a model");
  EXPECT_EQ(refusal([&] { submit(viewer, model); }), "SCOPE");
  EXPECT_EQ(refusal([&] { put(viewer, "a model"); }), "SCOPE");
  EXPECT_EQ(submit(submitter, model).spec().project(), "a");
  v1::SetQuotaRequest quota;
  quota.set_name("a");
  EXPECT_EQ(refusal([&] { call(*submitter.projects, &v1::Projects::Stub::SetQuota, quota); }), "SCOPE");
  EXPECT_EQ(refusal([&] { call(*submitter.tokens, &v1::Tokens::Stub::ListTokens, v1::ListTokensRequest()); }),
            "SCOPE");
  v1::RegisterWorkerRequest request;
  request.mutable_worker()->set_id("w");
  EXPECT_EQ(refusal([&] { call(*admin.workers, &v1::Workers::Stub::RegisterWorker, request); }), "SCOPE");
  call(*worker.workers, &v1::Workers::Stub::RegisterWorker, request);
  EXPECT_EQ(refusal([&] { list(worker); }), "SCOPE");
}

TEST_F(Closed, AWorkersTokenIsGoodOnThisMachineAlone) {
  const Credentials here{secret(Scope::kWorker), "", true, "", ""}, elsewhere{here.token, "", false, "", ""};
  EXPECT_EQ(server_->door.identify(here).scope, Scope::kWorker);
  EXPECT_EQ(refusal([&] { server_->door.identify(elsewhere); }), "CERTIFICATE_NEEDED");
  EXPECT_EQ(server_->door.identify({"", "worker:vm-a", false, "", ""}).scope, Scope::kWorker);
  EXPECT_EQ(refusal([&] { server_->door.identify({"", "vm-a", false, "", ""}); }), "NO_TOKEN");
  server_->tokens.revoke("worker:vm-a", server_->clock.now_ms());
  EXPECT_EQ(refusal([&] { server_->door.identify({"", "worker:vm-a", false, "", ""}); }), "TOKEN_REVOKED");
}

TEST_F(Service, IsOpenUntilThereIsATokenAndTheFirstOneIsAnAdmins) {
  submit();
  Token token;
  token.scope = Scope::kViewer;
  EXPECT_EQ(thrown_by([&] { server_->tokens.create(token, 1); }).reason(), "FIRST_TOKEN");
  EXPECT_TRUE(server_->door.is_open());
  token.scope = Scope::kAdmin;
  server_->tokens.create(token, 1);
  EXPECT_EQ(thrown_by([&] { submit(); }).reason(), "NO_TOKEN");
}

TEST_F(Closed, ATenantCannotTellAnothersJobFromOneThatIsNotThere) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const auto model = put(a, "a model");
  const auto id = submit(a, model).id();
  const auto everything = [&](const std::string& job) {
    v1::GetJobRequest get;
    v1::CancelJobRequest cancel;
    v1::RetryJobRequest retry;
    v1::PauseJobRequest pause;
    v1::DeleteJobRequest remove;
    v1::QueryEvaluationsRequest rows;
    v1::WatchJobRequest watch;
    for (auto* field : {get.mutable_id(), cancel.mutable_id(), retry.mutable_id(), pause.mutable_id(),
                        remove.mutable_id(), rows.mutable_job_id(), watch.mutable_id()})
      *field = job;
    std::vector<std::string> answers;
    const auto note = [&](const std::function<void()>& action) {
      const auto error = thrown_by(action);
      answers.push_back(std::string(to_string(error.code())) + error.reason() + error.hint());
    };
    note([&] { call(*b.jobs, &v1::Jobs::Stub::GetJob, get); });
    note([&] { call(*b.jobs, &v1::Jobs::Stub::CancelJob, cancel); });
    note([&] { call(*b.jobs, &v1::Jobs::Stub::RetryJob, retry); });
    note([&] { call(*b.jobs, &v1::Jobs::Stub::PauseJob, pause); });
    note([&] { call(*b.jobs, &v1::Jobs::Stub::DeleteJob, remove); });
    note([&] { call(*b.evaluations, &v1::Evaluations::Stub::QueryEvaluations, rows); });
    note([&] {
      grpc::ClientContext context;
      const auto reader = b.jobs->WatchJob(&context, watch);
      v1::Event event;
      EXPECT_FALSE(reader->Read(&event));
      check(reader->Finish());
    });
    return answers;
  };
  EXPECT_EQ(everything(id), everything("zzzzzzzzzzzz"));
  EXPECT_THAT(everything(id), testing::Each(HasSubstr("NOT_FOUND")));
  EXPECT_THAT(list(b).jobs(), IsEmpty());
  EXPECT_THAT(list(a).jobs(), SizeIs(1));
  EXPECT_THAT(list(with(admin_)).jobs(), SizeIs(1));
  EXPECT_EQ(refusal([&] { submit(b, put(b, "b's"), "a"); }), "PROJECT_NOT_FOUND");
}

TEST_F(Closed, TheSameRequestIdOfTwoTenantsIsTwoJobs) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const auto id = random_uuid();
  const auto model = put(a, "a model");
  put(b, "a model");
  const auto of_a = submit(a, model, "", id), of_b = submit(b, model, "", id);
  EXPECT_NE(of_a.id(), of_b.id());
  EXPECT_EQ(submit(a, model, "", id).id(), of_a.id());
}

TEST_F(Closed, ATenantCannotProbeForBlobsAndArtifactsOfAnother) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const std::string content(5000, 'x');
  const auto digest = put(a, content, "secret name");
  EXPECT_THAT(missing(a, content), IsEmpty());
  EXPECT_THAT(missing(b, content), SizeIs(1));
  EXPECT_EQ(refusal([&] { read(b, content); }), "BLOB_NOT_FOUND");
  EXPECT_EQ(refusal([&] { commit(b, content); }), "MISSING_BLOBS");
  v1::QueryWriteStatusRequest status;
  status.set_digest(sha256(content).hex());
  status.set_upload_id("u");
  const auto seen = call(*b.artifacts, &v1::Artifacts::Stub::QueryWriteStatus, status);
  EXPECT_FALSE(seen.complete());
  EXPECT_EQ(seen.committed_size(), 0u);
  v1::GetArtifactRequest get;
  get.set_digest(digest.substr(0, 8));
  EXPECT_EQ(refusal([&] { call(*b.artifacts, &v1::Artifacts::Stub::GetArtifact, get); }),
            "ARTIFACT_NOT_FOUND");
  EXPECT_EQ(refusal([&] { submit(b, digest); }), "ARTIFACT_NOT_FOUND");
  v1::DeleteArtifactRequest remove;
  remove.set_digest(digest);
  EXPECT_EQ(refusal([&] { call(*b.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove); }),
            "ARTIFACT_NOT_FOUND");

  EXPECT_EQ(put(b, content, "b's"), digest) << "who has the bytes may have the artifact";
  EXPECT_EQ(read(b, content), content);
  EXPECT_EQ(call(*b.artifacts, &v1::Artifacts::Stub::GetArtifact, get).name(), "b's");
  call(*b.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove);
  EXPECT_EQ(call(*a.artifacts, &v1::Artifacts::Stub::GetArtifact, get).name(), "secret name");
}

TEST_F(Closed, AWrongGuessOfAnUploadIdShowsNothing) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const std::string blob(3000, 'y');
  {
    grpc::ClientContext context;
    v1::WriteBlobResponse response;
    const auto writer = a.artifacts->WriteBlob(&context, &response);
    for (const auto& message : pieces(blob, "known", 0, 2000)) writer->Write(message);
    writer->WritesDone();
    EXPECT_FALSE(writer->Finish().ok());
  }
  v1::QueryWriteStatusRequest status;
  status.set_digest(sha256(blob).hex());
  status.set_upload_id("known");
  EXPECT_EQ(call(*a.artifacts, &v1::Artifacts::Stub::QueryWriteStatus, status).committed_size(), 2000u);
  EXPECT_EQ(call(*b.artifacts, &v1::Artifacts::Stub::QueryWriteStatus, status).committed_size(), 0u);
}

TEST_F(Closed, AResultBelongsToItsJobsProject) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  submit(a, put(a, "a model"));
  const auto worker_secret = become_worker();
  const auto leased = lease();
  const auto worker = with(worker_secret, leased.job().id());
  put_blob(worker, "a result");
  const auto result = commit(worker, "a result").digest();  // as a worker that names no project
  auto request = ending(leased, "succeeded");
  request.set_result(result);
  finish(request);
  v1::GetArtifactRequest get;
  get.set_digest(result);
  EXPECT_EQ(call(*a.artifacts, &v1::Artifacts::Stub::GetArtifact, get).created_by_job(), leased.job().id());
  EXPECT_EQ(read(a, "a result"), "a result");
  EXPECT_EQ(refusal([&] { call(*b.artifacts, &v1::Artifacts::Stub::GetArtifact, get); }),
            "ARTIFACT_NOT_FOUND");
}

TEST_F(Closed, AWorkerSeesWhatTheProjectOfItsJobHas) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  put(b, "b's model");
  submit(a, put(a, "a model"));
  const auto worker_secret = become_worker();
  const auto job = lease().job().id();
  const auto nobody = with(worker_secret), worker = with(worker_secret, job),
             other = with(secret(Scope::kWorker), job);
  EXPECT_EQ(read(worker, "a model"), "a model");
  EXPECT_EQ(refusal([&] { read(worker, "b's model"); }), "BLOB_NOT_FOUND");
  EXPECT_THAT(missing(worker, "b's model"), SizeIs(1));
  EXPECT_EQ(refusal([&] { commit(worker, "b's model"); }), "MISSING_BLOBS");
  EXPECT_EQ(refusal([&] { read(nobody, "a model"); }), "NO_JOB");
  EXPECT_EQ(refusal([&] { missing(with(worker_secret, "1"), "a model"); }), "NO_JOB");
  EXPECT_EQ(refusal([&] { read(other, "a model"); }), "WORKER_NOT_YOURS");
}

class MovableClock final : public Clock {
 public:
  TimeMs now_ms() const override { return now; }
  std::atomic<TimeMs> now = 1'000'000;
};

TEST(WorkersSight, OfAJobThatWentBackToTheQueueItLastsAnHour) {
  const TempDir folder;
  MovableClock clock;
  Metrics metrics;
  JobStore store(folder.path());
  StoreBatch batch;
  auto& model = batch.artifacts.emplace_back();
  model.set_digest(std::string(64, 'a'));
  model.set_manifest_json(Manifest{"model", {{"file", 1, {{sha256("m"), 1}}}}}.canonical());
  store.write(std::move(batch)).get();
  Coordinator coordinator(store, clock, metrics, {});
  v1::SubmitJobRequest request;
  request.mutable_spec()->set_recipe("rtn(bits=4)");
  request.mutable_spec()->set_model(std::string(64, 'a'));
  const auto id = coordinator.submit({}, request).id();
  v1::Worker worker;
  worker.set_id("w");
  worker.add_devices()->set_kind("cpu");
  worker.add_methods("rtn@" + std::to_string(Catalogue::embedded().find("rtn")->version));
  coordinator.register_worker(worker, "worker:w", [](const auto&) { return true; });
  v1::LeaseJobRequest poll;
  poll.set_worker_id("w");
  poll.add_free_devices()->set_kind("cpu");
  const auto leased = coordinator.lease(poll, [] { return false; });
  ASSERT_EQ(leased.job().id(), id);
  v1::FinishAttemptRequest released;
  released.set_job_id(id);
  *released.mutable_fence() = leased.fence();
  released.set_outcome("released");
  coordinator.finish(released);
  const auto sees = [&] { return coordinator.project_for("worker:w", id); };
  EXPECT_EQ(sees(), "default");
  clock.now += 3'000'000;
  EXPECT_EQ(sees(), "default");
  clock.now += 1'000'000;
  EXPECT_EQ(thrown_by(sees).reason(), "NO_JOB");
}

TEST_F(Closed, ASweepGivesItsProjectNoArtifactOfAnother) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const auto foreign = put(b, "b's model");
  v1::SubmitSweepRequest request;
  request.mutable_spec()->set_sweep("{recipe: rtn, model: M, space: {'stages[0].bits': [3, 4]}}");
  auto& inputs = *request.mutable_spec()->mutable_inputs();
  inputs["M"] = foreign;
  const auto submit = [&] { call(*a.sweeps, &v1::Sweeps::Stub::SubmitSweep, request); };
  EXPECT_EQ(refusal(submit), "ARTIFACT_NOT_FOUND");
  inputs["M"] = put(a, "a model");
  inputs["another"] = foreign;  // which nothing of the sweep names
  EXPECT_EQ(refusal(submit), "UNKNOWN_INPUT");
  v1::GetArtifactRequest get;
  get.set_digest(foreign);
  EXPECT_EQ(refusal([&] { call(*a.artifacts, &v1::Artifacts::Stub::GetArtifact, get); }),
            "ARTIFACT_NOT_FOUND");
}

TEST_F(Closed, AWorkersIdAndItsLeasesAreItsOwn) {
  const auto a = somebody(Scope::kSubmitter, "a");
  submit(a, put(a, "a model"));
  const auto first = become_worker();
  const auto leased = lease();
  const auto second = secret(Scope::kWorker);
  workers_ = v1::Workers::NewStub(with(second).channel);
  EXPECT_EQ(refusal([&] { add_worker(); }), "WORKER_NOT_YOURS");
  EXPECT_EQ(refusal([&] { lease(); }), "WORKER_NOT_YOURS");
  EXPECT_EQ(refusal([&] { finish(ending(leased, "failed")); }), "WORKER_NOT_YOURS");
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("w");
  EXPECT_EQ(refusal([&] { call(*workers_, &v1::Workers::Stub::Heartbeat, heartbeat); }), "WORKER_NOT_YOURS");
  start();
  workers_ = v1::Workers::NewStub(with(second).channel);
  EXPECT_EQ(refusal([&] { add_worker(); }), "WORKER_NOT_YOURS") << "after a restart";
  server_->tokens.revoke(server_->tokens.find(first)->id, server_->clock.now_ms());
  add_worker();
}

TEST_F(Closed, QuotasNameTheNumberAndTheLimit) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const auto model = put(a, "a model");
  set_quota("a", {2, 0, 0});
  submit(a, model);
  submit(a, model);
  auto error = thrown_by([&] { submit(a, model); });
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(error.reason(), "QUOTA_QUEUED");
  EXPECT_THAT(error.message(), HasSubstr("has 2 jobs queued, and may have 2"));
  submit(b, put(b, "a model"));
  set_quota("a", {3, 0, 0});
  submit(a, model);
  start();
  EXPECT_EQ(refusal([&] { submit(with(admin_), model, "a"); }), "QUOTA_QUEUED") << "after a restart";

  const auto again = somebody(Scope::kSubmitter, "a");
  const auto project = set_quota("a", {0, 0, 1000});
  EXPECT_EQ(project.bytes(), 7u);
  error = thrown_by([&] { put(again, std::string(1000, 'z')); });
  EXPECT_EQ(error.reason(), "QUOTA_BYTES");
  EXPECT_THAT(error.message(), HasSubstr("has 7 bytes, and may have 1000"));
  put(again, std::string(993, 'z'));
  EXPECT_EQ(refusal([&] { submit(again, model); }), "QUOTA_BYTES");
}

TEST_F(Closed, DiscardedBytesCountUntilTheyAreCollected) {
  const auto a = somebody(Scope::kSubmitter, "a");
  v1::DeleteArtifactRequest remove;
  remove.set_digest(put(a, "some bytes"));
  call(*a.artifacts, &v1::Artifacts::Stub::DeleteArtifact, remove);
  EXPECT_EQ(set_quota("a", {0, 0, 10}).bytes(), 10u);
  EXPECT_EQ(refusal([&] { put_blob(a, "more"); }), "QUOTA_BYTES");
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the file system's clock is coarse
  collect_garbage(server_->store, server_->blobs, server_->clock.now_ms(), 0);
  EXPECT_EQ(set_quota("a", {0, 0, 10}).bytes(), 0u);
  put_blob(a, "more");
}

TEST_F(Closed, UploadsThatWereBegunCountTowardsTheQuota) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  set_quota("a", {0, 0, 3000});
  const auto begin = [](const Somebody& who, const std::string& blob) {  // all but its last byte
    grpc::ClientContext context;
    v1::WriteBlobResponse response;
    const auto writer = who.artifacts->WriteBlob(&context, &response);
    auto messages = pieces(blob, "begun", 0, blob.size());
    messages.back().mutable_data()->pop_back();
    for (const auto& message : messages) writer->Write(message);
    writer->WritesDone();
    check(writer->Finish());
  };
  EXPECT_EQ(refusal([&] { begin(a, std::string(2000, 'x')); }), "BLOB_SIZE");
  EXPECT_EQ(refusal([&] { begin(a, std::string(2000, 'y')); }), "QUOTA_BYTES");
  EXPECT_EQ(refusal([&] { begin(b, std::string(2000, 'y')); }), "BLOB_SIZE") << "another project's";
  grpc::ClientContext context;
  v1::WriteBlobResponse response;
  const auto writer = a.artifacts->WriteBlob(&context, &response);
  for (const auto& message : pieces(std::string(2000, 'x'), "begun", 1999, 2000)) writer->Write(message);
  writer->WritesDone();
  check(writer->Finish());
  EXPECT_EQ(response.committed_size(), 2000u) << "the upload itself goes on";
}

TEST_F(Closed, WhatACallerSentIsCutInTheAuditLog) {
  const auto a = somebody(Scope::kSubmitter, "a");
  v1::CancelJobRequest cancel;
  cancel.set_id(std::string(1 << 20, 'x'));
  refusal([&] { call(*a.jobs, &v1::Jobs::Stub::CancelJob, cancel); });
  EXPECT_EQ(audit().back().object, std::string(256, 'x'));
}

TEST_F(Closed, NotesWhoChangedWhatAndWhatCameOfIt) {
  const auto a = somebody(Scope::kSubmitter, "a"), viewer = somebody(Scope::kViewer, "a");
  const auto model = put(a, "a model");
  const auto id = submit(a, model).id();
  refusal([&] { submit(viewer, model); });
  refusal([&] { submit(with("wring_nonsense"), model); });
  refusal([&] { submit(a, std::string(64, '0')); });
  list(a);
  v1::SubmitJobRequest question;
  question.set_validate_only(true);
  refusal([&] { call(*a.jobs, &v1::Jobs::Stub::SubmitJob, question); });
  question.mutable_spec()->set_recipe("rtn(bits=4)");
  question.mutable_spec()->set_model(model);
  EXPECT_EQ(call(*a.jobs, &v1::Jobs::Stub::SubmitJob, question).id(), "");
  std::vector<std::string> lines;
  for (const auto& entry : audit()) {
    EXPECT_GT(entry.time, 0);
    EXPECT_FALSE(entry.request_id.empty());
    lines.push_back(entry.scope + "@" + entry.project + " " + entry.method + " " + entry.object + " " +
                    entry.outcome);
  }
  EXPECT_THAT(lines, ElementsAre("submitter@a Artifacts/CommitArtifact " + model + " OK",
                                 "submitter@a Jobs/SubmitJob " + id + " OK", "viewer@a Jobs/SubmitJob  SCOPE",
                                 "@ Jobs/SubmitJob ipv4:127.0.0.1 BAD_TOKEN",
                                 "submitter@a Jobs/SubmitJob  ARTIFACT_NOT_FOUND"));
  EXPECT_THROW(server_->store.read([](Connection& db) { db.execute("DELETE FROM audit"); }), Error);
}

// What the disk has after a crash is what other connections see: a row and its change come together.
TEST_F(Closed, NoChangeIsSeenWithoutItsAuditRow) {
  const auto a = somebody(Scope::kSubmitter, "a");
  const auto model = put(a, "a model");
  std::atomic<bool> done = false;
  std::size_t looks = 0, lonely = 0;
  std::thread reader([&] {
    for (; !done || looks == 0; ++looks)
      lonely += server_->store.read([](Connection& db) {
        Statement row(db,
                      "SELECT (SELECT count(*) FROM jobs) <> "
                      "(SELECT count(*) FROM audit WHERE method = 'Jobs/SubmitJob' AND outcome = 'OK')");
        row.row();
        return static_cast<std::size_t>(row.integer(0));
      });
  });
  std::set<std::string> ids, noted;
  for (int i = 0; i < 50; ++i) ids.insert(submit(a, model).id());
  done = true;
  reader.join();
  EXPECT_EQ(lonely, 0u) << "of " << looks;
  for (const auto& entry : audit())
    if (entry.method == "Jobs/SubmitJob") noted.insert(entry.object);
  EXPECT_EQ(noted, ids);
}

// Another tenant's jobs stand in between.
TEST_F(Closed, PageTokensTellNothingAndBelongToOneList) {
  const auto a = somebody(Scope::kSubmitter, "a"), b = somebody(Scope::kSubmitter, "b");
  const auto model = put(a, "a model"), other = put(b, "another model");
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.insert(ids.begin(), submit(a, model).id());
    submit(b, other);
  }
  const auto page = [](const Somebody& who, v1::ListJobsRequest request) {
    return call(*who.jobs, &v1::Jobs::Stub::ListJobs, request);
  };
  v1::ListJobsRequest request;
  request.set_page_size(1);
  const auto first = page(a, request).next_page_token();
  EXPECT_EQ(page(a, request).next_page_token(), first);  // or no page would ever be unchanged
  request.set_page_token(first);
  const auto second = page(a, request);
  ASSERT_THAT(second.jobs(), SizeIs(1));
  EXPECT_EQ(second.jobs(0).id(), ids[1]);
  EXPECT_EQ(second.next_page_token().size(), first.size());
  EXPECT_NE(second.next_page_token().substr(0, 32), first.substr(0, 32));
  EXPECT_NE(second.next_page_token().substr(32), first.substr(32));
  request.set_page_size(2);
  EXPECT_EQ(page(a, request).jobs(1).id(), ids[2]);

  const auto refused = [&](const Somebody& who, v1::ListJobsRequest asked) {
    const auto error = thrown_by([&] { page(who, asked); });
    return error.reason() + " " + error.field();
  };
  const std::string bad = "BAD_PAGE_TOKEN page_token";
  EXPECT_EQ(refused(b, request), bad);
  auto changed = request;
  changed.set_name_contains("rtn");
  EXPECT_EQ(refused(a, changed), bad);
  changed = request;
  changed.add_states(v1::JOB_STATE_QUEUED);
  EXPECT_EQ(refused(a, changed), bad);
  changed = request;
  changed.set_model(model);
  EXPECT_EQ(refused(a, changed), bad);
  for (const auto& token :
       {first.substr(2), first + "00", (first[0] == '0' ? "1" : "0") + first.substr(1), std::string("p3"),
        std::string("zz"), std::string(2000, 'a'), std::string(64, '0')}) {
    changed = request;
    changed.set_page_token(token);
    EXPECT_EQ(refused(a, changed), bad) << token;
  }
  v1::ListArtifactsRequest artifacts;
  artifacts.set_page_token(first);
  EXPECT_EQ(refusal([&] { call(*a.artifacts, &v1::Artifacts::Stub::ListArtifacts, artifacts); }),
            "BAD_PAGE_TOKEN");
}

TEST_F(Closed, AFloodOfCallsWithoutATokenLeavesFewRows) {
  for (int i = 0; i < 200; ++i) refusal([&] { list(with("")); });
  const auto rows = audit();
  EXPECT_GE(rows.size(), 60u);
  EXPECT_LE(rows.size(), 70u);  // a few more in the time that the calls take
  EXPECT_EQ(rows.front().outcome, "NO_TOKEN");
  EXPECT_EQ(rows.front().caller, "unknown");
}

TEST_F(Closed, ATokenHasARateAndSoManyCallsAtATime) {
  door_options_ = {false, 5, 2};
  start();
  const auto a = somebody(Scope::kViewer, "a");
  std::vector<std::string> refusals;
  for (int i = 0; i < 13; ++i) {
    const auto error = [&] {
      try {
        list(a);
      } catch (const Error& e) {
        return e.reason();
      }
      return std::string();
    }();
    if (!error.empty()) refusals.push_back(error);
  }
  EXPECT_THAT(refusals, Contains("RATE_LIMITED"));
  list(with(admin_));

  door_options_ = {false, 0, 2};
  start();
  const auto b = somebody(Scope::kSubmitter, "b");
  v1::WatchJobRequest watch;
  watch.set_id(submit(b, put(b, "a model")).id());
  grpc::ClientContext one, two;
  const auto first = b.jobs->WatchJob(&one, watch), second = b.jobs->WatchJob(&two, watch);
  v1::Event event;
  ASSERT_TRUE(first->Read(&event) && second->Read(&event));
  EXPECT_EQ(refusal([&] { list(b); }), "TOO_MANY_CALLS");
  one.TryCancel();
  two.TryCancel();
}

TEST_F(Closed, AWatchEndsWithItsToken) {
  const auto secret_of_b = secret(Scope::kSubmitter, "b");
  const auto b = with(secret_of_b);
  v1::WatchJobRequest watch;
  watch.set_id(submit(b, put(b, "a model")).id());
  grpc::ClientContext context;
  const auto reader = b.jobs->WatchJob(&context, watch);
  v1::Event event;
  ASSERT_TRUE(reader->Read(&event));
  server_->tokens.revoke(server_->tokens.find(secret_of_b)->id, server_->clock.now_ms());
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace wring

// The rest of the API as a client sees it, through a real channel on loopback: artifacts, errors, methods,
// evaluations.
#include <grpcpp/generic/generic_stub.h>

#include <future>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Artifacts : public Service {};
class System : public Service {};
class Errors : public Service {};
class Methods : public Service {};
class Evaluations : public Service {};

TEST_F(Artifacts, ComeBackAsTheyWereUploaded) {
  const std::string content(5000, 'x');
  const auto digest = upload(content);
  v1::GetArtifactRequest get;
  get.set_digest("sha256:" + digest.substr(0, 10));
  const auto artifact = call(*artifacts_, &v1::Artifacts::Stub::GetArtifact, get);
  EXPECT_EQ(artifact.digest(), digest);
  EXPECT_EQ(artifact.total_bytes(), 5000u);
  EXPECT_EQ(artifact.kind(), "model");
  EXPECT_EQ(sha256(artifact.manifest_json()).hex(), digest);
  v1::ReadBlobRequest read;
  read.set_digest(sha256(content).hex());
  grpc::ClientContext context;
  const auto reader = artifacts_->ReadBlob(&context, read);
  std::string back;
  for (v1::ReadBlobResponse piece; reader->Read(&piece);) back += piece.data();
  check(reader->Finish());
  EXPECT_EQ(back, content);
}

TEST_F(Artifacts, ABrokenUploadGoesOnAtTheCommittedSize) {
  const std::string content(5000, 'y');
  const auto id = random_uuid();
  EXPECT_EQ(thrown_by([&] { write_blob(pieces(content, id, 0, 3000)); }).reason(), "BLOB_SIZE");
  start();  // and over a restart
  v1::QueryWriteStatusRequest query;
  query.set_digest(sha256(content).hex());
  query.set_upload_id(id);
  EXPECT_EQ(call(*artifacts_, &v1::Artifacts::Stub::QueryWriteStatus, query).committed_size(), 3000u);
  EXPECT_EQ(thrown_by([&] { write_blob(pieces(content, id, 0, 5000)); }).code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(write_blob(pieces(content, id, 3000, 5000)), 5000u);
  EXPECT_TRUE(call(*artifacts_, &v1::Artifacts::Stub::QueryWriteStatus, query).complete());
  EXPECT_EQ(write_blob(pieces(content, random_uuid(), 0, 1000)), 5000u)
      << "what is there ends an upload early";
}

TEST_F(Artifacts, WithoutAllTheirChunksAreRefusedWithTheMissingOnesNamed) {
  Manifest manifest;
  manifest.kind = "model";
  manifest.files = {{"a", 3, {{sha256("abc"), 3}}}, {"b", 3, {{sha256("def"), 3}}}};
  v1::CommitArtifactRequest request;
  request.set_manifest_json(manifest.canonical());
  grpc::ClientContext context;
  v1::Artifact artifact;
  const auto status = artifacts_->CommitArtifact(&context, request, &artifact);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(from_status(status).reason(), "MISSING_BLOBS");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  std::vector<std::string> subjects;
  google::rpc::PreconditionFailure failure;
  for (const auto& any : details.details())
    if (any.UnpackTo(&failure))
      for (const auto& violation : failure.violations()) subjects.push_back(violation.subject());
  EXPECT_THAT(subjects, ElementsAre(sha256("abc").hex(), sha256("def").hex()));
}

TEST_F(Artifacts, OfWhichTheMetadataHoldANulAreStored) {
  write_blob(pieces("abc", random_uuid(), 0, 3));
  Manifest manifest;
  manifest.kind = "model";
  manifest.files = {{"a", 3, {{sha256("abc"), 3}}}};
  manifest.metadata = {{"note", std::string("a\0b", 3)}, {"path", "c:\\u0000"}};
  v1::CommitArtifactRequest request;
  request.set_manifest_json(manifest.canonical());
  const auto digest = call(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, request).digest();
  v1::GetArtifactRequest get;
  get.set_digest(digest);
  EXPECT_EQ(call(*artifacts_, &v1::Artifacts::Stub::GetArtifact, get).manifest_json(), manifest.canonical());
}

TEST_F(Artifacts, AManifestThatWouldLeaveItsFolderIsRefused) {
  v1::CommitArtifactRequest request;
  request.set_manifest_json(
      R"({"files":[{"chunks":[],"path":"../x","size":0}],"kind":"model","metadata":{},"version":1})");
  EXPECT_EQ(thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, request); }).reason(),
            "BAD_MANIFEST");
}

TEST_F(Artifacts, AreKeptPinnedOrDeletedAsAsked) {
  const auto digest = upload("a model");
  v1::SetRetentionRequest pin;
  pin.set_digest(digest.substr(0, 12));
  pin.set_pinned(true);
  EXPECT_TRUE(call(*artifacts_, &v1::Artifacts::Stub::SetRetention, pin).pinned());
  v1::DeleteArtifactRequest remove;
  remove.set_digest(digest);
  const auto removed = [&] {
    return thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::DeleteArtifact, remove); }).reason();
  };
  EXPECT_EQ(removed(), "ARTIFACT_PINNED");
  pin.set_pinned(false);
  call(*artifacts_, &v1::Artifacts::Stub::SetRetention, pin);
  const auto job = submit();
  EXPECT_EQ(removed(), "ARTIFACT_IN_USE");
  cancel(job.id());
  call(*artifacts_, &v1::Artifacts::Stub::DeleteArtifact, remove);
  EXPECT_EQ(removed(), "ARTIFACT_NOT_FOUND");
  EXPECT_EQ(upload("a model"), digest);  // and may come back
}

TEST_F(Artifacts, AreListedNewestFirstInPages) {
  std::vector<std::string> digests;
  for (const char* content : {"1", "2", "3"}) digests.push_back(upload(content));
  std::vector<std::string> listed;
  v1::ListArtifactsRequest request;
  request.set_page_size(2);
  do {
    const auto page = call(*artifacts_, &v1::Artifacts::Stub::ListArtifacts, request);
    for (const auto& artifact : page.artifacts()) listed.push_back(artifact.digest());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre(digests[2], digests[1], digests[0]));
}

TEST_F(Artifacts, AreListedByAPartOfTheirName) {
  std::vector<std::string> wanted;
  for (int i = 0; i < 9; ++i) {
    const auto content = std::to_string(i);
    // Every digest has a digit in it, which is no part of the name.
    wanted.push_back(upload(content, "model", "file", i % 3 == 0 ? "größe-1" : "another"));
  }
  const auto listed = [&](const std::string& name, int page_size) {
    std::vector<std::string> all;
    v1::ListArtifactsRequest request;
    request.set_name_contains(name);
    request.set_page_size(page_size);
    do {
      const auto page = call(*artifacts_, &v1::Artifacts::Stub::ListArtifacts, request);
      EXPECT_LE(page.artifacts_size(), page_size);
      for (const auto& artifact : page.artifacts()) all.push_back(artifact.digest());
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return all;
  };
  for (const int page_size : {1, 2, 50})
    for (const char* name : {"größe", "1"})
      EXPECT_THAT(listed(name, page_size), ElementsAre(wanted[6], wanted[3], wanted[0])) << name;
  EXPECT_THAT(listed("another", 2), SizeIs(6));
  EXPECT_THAT(listed("Another", 2), IsEmpty());
}

TEST_F(System, SaysWhatTheServerStoresAndWhatItsCachesSpared) {
  const auto system = [&] { return call(*workers_, &v1::Workers::Stub::GetSystem, v1::GetSystemRequest()); };
  upload(std::string(5000, 'x'));
  auto said = system();
  EXPECT_EQ(said.version(), WRING_VERSION);
  EXPECT_EQ(said.stored_bytes(), 5000u);
  EXPECT_GT(said.disk_free_bytes(), 0u);
  EXPECT_GE(said.disk_bytes(), said.disk_free_bytes());
  EXPECT_GT(said.start_time().seconds(), 0);
  add_worker();
  submit();
  const auto leased = lease();
  v1::ReportStageRequest stage;
  stage.set_job_id(leased.job().id());
  *stage.mutable_fence() = leased.fence();
  for (const char* source : {"", "worker", "project", "project", "skipped"}) {
    stage.mutable_stage()->set_state(*source ? "cached" : "done");
    stage.mutable_stage()->set_cached_in(source);
    stage.mutable_stage()->set_key(std::string(64, 'a'));
    call(*workers_, &v1::Workers::Stub::ReportStage, stage);
    stage.mutable_stage()->set_index(stage.stage().index() + 1);
  }
  said = system();
  EXPECT_EQ(said.stages().made(), 1u);
  EXPECT_EQ(said.stages().from_worker(), 1u);
  EXPECT_EQ(said.stages().from_project(), 2u);
  EXPECT_EQ(said.stages().skipped(), 1u);
}

TEST_F(Errors, CarryReasonDomainFieldAndHint) {
  auto request = submission("rtn(bits=4, group_sise=32)");
  grpc::ClientContext context;
  v1::Job job;
  const auto status = jobs_->SubmitJob(&context, request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  for (const auto& any : details.details()) any.UnpackTo(&info) || any.UnpackTo(&bad);
  EXPECT_EQ(info.reason(), "UNKNOWN_PARAMETER");
  EXPECT_EQ(info.domain(), "wring");
  EXPECT_THAT(info.metadata().at("hint"), HasSubstr("group_size"));
  ASSERT_THAT(bad.field_violations(), SizeIs(1));
  EXPECT_EQ(bad.field_violations(0).field(), "stages[0].params.group_sise");
}

TEST_F(Errors, OfAMethodThatDoesNotTakeTheModelComeAtTheSubmit) {
  const auto reason_of = [&](const std::string& recipe, const std::string& model) {
    auto request = submission(recipe);
    request.mutable_spec()->set_model(model);
    return thrown_by([&] { submit(request); }).reason();
  };
  const auto graph = upload("a graph", "model", "net.onnx");
  EXPECT_EQ(reason_of("rtn(bits=4)", graph), "WRONG_MODEL_KIND");
  EXPECT_EQ(reason_of("magnitude-units", upload("weights", "model", "model.safetensors")),
            "WRONG_MODEL_KIND");
  auto request = submission("magnitude-units | size");
  request.mutable_spec()->set_model(graph);
  EXPECT_FALSE(submit(request).id().empty());
}

TEST_F(Errors, OfTenThousandBytesStillArrive) {
  auto request = submission("rtn(" + std::string(10'000, 'x') + "=4)");
  EXPECT_EQ(thrown_by([&] { submit(request); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Errors, OfASubmitNameWhatIsWrong) {
  const auto reason_of = [&](auto change) {
    auto request = submission();
    change(*request.mutable_spec());
    const auto error = thrown_by([&] { submit(request); });
    return error.reason() + " " + error.field();
  };
  EXPECT_EQ(reason_of([](auto& s) { s.set_model(std::string(64, 'f')); }), "ARTIFACT_NOT_FOUND spec.model");
  EXPECT_EQ(reason_of([](auto& s) { s.set_model("../../etc/passwd"); }), "ARTIFACT_NOT_FOUND spec.model");
  EXPECT_EQ(reason_of([](auto& s) { (*s.mutable_data())["test"] = "x"; }), "UNKNOWN_DATA spec.data.test");
  EXPECT_EQ(reason_of([](auto& s) {
              s.set_recipe("gptq(bits=4)");
              (*s.mutable_data())["calibration"] = "x";
            }),
            "ARTIFACT_NOT_FOUND spec.data.calibration");
  EXPECT_EQ(reason_of([](auto& s) { s.set_recipe("gptq(bits=4)"); }), "MISSING_DATA spec.data.calibration");
  EXPECT_EQ(reason_of([](auto& s) { s.set_name(std::string(201, 'x')); }), "NAME_TOO_LONG spec.name");
  EXPECT_EQ(reason_of([](auto& s) { s.mutable_resources()->set_device("tpu"); }),
            "BAD_DEVICE spec.resources.device");
  EXPECT_EQ(reason_of([](auto& s) { s.set_max_runtime_seconds(-1); }),
            "OUT_OF_RANGE spec.max_runtime_seconds");
  EXPECT_EQ(reason_of([](auto& s) { s.set_queued_timeout_seconds(2e9); }),
            "OUT_OF_RANGE spec.queued_timeout_seconds");
  EXPECT_EQ(reason_of([](auto& s) { s.set_total_timeout_seconds(std::nan("")); }),
            "OUT_OF_RANGE spec.total_timeout_seconds");
  EXPECT_EQ(reason_of([](auto& s) { s.mutable_resources()->set_device_count(2); }),
            "OUT_OF_RANGE spec.resources.device_count");
  EXPECT_EQ(reason_of([](auto& s) { s.mutable_resources()->set_processes(3); }),
            "OUT_OF_RANGE spec.resources.processes");
  for (const char* name : {"Vision", "-x", "a b", "../x", "\xc3\xa9"})
    EXPECT_EQ(reason_of([&](auto& s) { s.set_project(name); }), "BAD_PROJECT spec.project") << name;
  EXPECT_EQ(reason_of([](auto& s) { s.set_project(std::string(64, 'x')); }), "BAD_PROJECT spec.project");
  EXPECT_EQ(reason_of([](auto& s) { s.set_recipe(""); }), "MALFORMED_RECIPE recipe");
  auto request = submission();
  request.set_request_id("mine");
  EXPECT_EQ(thrown_by([&] { submit(request); }).field(), "request_id");
}

TEST_F(Errors, OfBlobsAndManifestsNameTheFieldOfTheRequest) {
  v1::FindMissingBlobsRequest find;
  find.add_digests(sha256("x").hex());
  find.add_digests("beef");
  EXPECT_EQ(thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::FindMissingBlobs, find); }).field(),
            "digests[1]");
  v1::QueryWriteStatusRequest query;
  EXPECT_EQ(thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::QueryWriteStatus, query); }).field(),
            "digest");
  EXPECT_EQ(thrown_by([&] { write_blob({v1::WriteBlobRequest()}); }).field(), "digest");
  v1::CommitArtifactRequest commit;
  const auto field_of = [&](const std::string& manifest) {
    commit.set_manifest_json(manifest);
    return thrown_by([&] { call(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, commit); }).field();
  };
  EXPECT_EQ(field_of("no JSON"), "manifest_json");
  EXPECT_EQ(field_of(R"({"version":2})"), "manifest_json.version");
  EXPECT_EQ(field_of(R"({"files":[{"chunks":[{"sha256":"beef","size":1}],"path":"a","size":1}],)"
                     R"("kind":"model","metadata":{},"version":1})"),
            "manifest_json.files[0].chunks[0].sha256");
}

TEST_F(Errors, WhatAWorkerSaysIsBounded) {
  v1::RegisterWorkerRequest registration;
  registration.mutable_worker()->set_id("w");
  registration.mutable_worker()->set_name(std::string(2 << 20, 'x'));
  const auto refused = thrown_by([&] { call(*workers_, &v1::Workers::Stub::RegisterWorker, registration); });
  EXPECT_EQ(refused.reason() + " " + refused.field(), "MESSAGE_TOO_LARGE worker");
  add_worker();
  submit();
  const auto lease = this->lease();
  v1::ReportStageRequest report;
  report.set_job_id(lease.job().id());
  *report.mutable_fence() = lease.fence();
  report.mutable_stage()->set_state("running");
  report.mutable_stage()->set_report_json(std::string(17 << 20, ' '));
  EXPECT_EQ(thrown_by([&] { call(*workers_, &v1::Workers::Stub::ReportStage, report); }).field(), "stage");
  this->report(lease, 0, "running");
  v1::Progress progress;
  progress.set_done(3);
  heartbeat(lease, progress);
  progress.set_unit(std::string(2000, 'x'));
  progress.set_done(4);
  heartbeat(lease, progress);
  EXPECT_EQ(get(lease.job().id()).stages(0).progress().done(), 3u);
}

TEST_F(Errors, HealthIsToldForEachService) {
  // Messages with the fields of grpc.health.v1: a name; a status, 1 for SERVING.
  grpc::TemplatedGenericStub<v1::GetMethodRequest, v1::ListWorkersRequest> health(channel_);
  for (const char* service : {"", "wring.v1.Artifacts", "wring.v1.Jobs", "wring.v1.Workers",
                              "wring.v1.Methods", "wring.v1.Evaluations"}) {
    v1::GetMethodRequest request;
    request.set_name(service);
    v1::ListWorkersRequest response;
    grpc::ClientContext context;
    std::promise<grpc::Status> done;
    health.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                     [&](const grpc::Status& status) { done.set_value(status); });
    EXPECT_TRUE(done.get_future().get().ok()) << service;
    EXPECT_EQ(response.page_size(), 1) << service;
  }
}

TEST_F(Errors, OfPagingAndPrefixesAreTheCallersToMend) {
  v1::ListJobsRequest request;
  request.set_page_size(-1);
  EXPECT_EQ(thrown_by([&] { call(*jobs_, &v1::Jobs::Stub::ListJobs, request); }).field(), "page_size");
  request.set_page_size(1'000'000);
  call(*jobs_, &v1::Jobs::Stub::ListJobs, request);
  request.set_page_token("nonsense");
  EXPECT_EQ(thrown_by([&] { call(*jobs_, &v1::Jobs::Stub::ListJobs, request); }).field(), "page_token");
  EXPECT_EQ(thrown_by([&] { get("%"); }).reason(), "JOB_NOT_FOUND");
  EXPECT_EQ(thrown_by([&] { get(""); }).reason(), "JOB_NOT_FOUND");
}

TEST_F(Errors, AnUnknownWorkerIsAskedToRegister) {
  EXPECT_EQ(thrown_by([&] { lease(0, "nobody"); }).reason(), "WORKER_NOT_FOUND");
  v1::HeartbeatRequest request;
  request.set_worker_id("nobody");
  EXPECT_TRUE(call(*workers_, &v1::Workers::Stub::Heartbeat, request).register_again());
}

TEST_F(Methods, TheCatalogueIsThereWithoutWorkers) {
  v1::ListMethodsRequest whole;
  whole.set_page_size(1000);
  const auto list = call(*methods_, &v1::Methods::Stub::ListMethods, whole);
  std::vector<std::string> names;
  for (const auto& method : list.methods()) names.push_back(method.name());
  EXPECT_THAT(names, testing::IsSupersetOf({"gptq", "rtn", "perplexity", "gguf"}));
  EXPECT_EQ(list.catalogue_digest(), Catalogue::embedded().digest().hex());
  v1::GetMethodRequest request;
  request.set_name("gtpq");
  const auto error = thrown_by([&] { call(*methods_, &v1::Methods::Stub::GetMethod, request); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_THAT(error.hint(), HasSubstr("Did you mean 'gptq'?"));
}

TEST_F(Methods, AreListedInPages) {
  v1::ListMethodsRequest request;
  request.set_page_size(1000);
  const auto all = call(*methods_, &v1::Methods::Stub::ListMethods, request);
  std::vector<std::string> listed;
  request.set_page_size(2);
  do {
    const auto page = call(*methods_, &v1::Methods::Stub::ListMethods, request);
    EXPECT_LE(page.methods_size(), 2);
    for (const auto& method : page.methods()) listed.push_back(method.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  ASSERT_THAT(listed, SizeIs(all.methods_size()));
  for (int i = 0; i < all.methods_size(); ++i)
    EXPECT_EQ(listed[static_cast<std::size_t>(i)], all.methods(i).name());
}

TEST_F(Methods, ARecipeIsValidatedToItsNormalForm) {
  v1::ValidateRecipeRequest request;
  request.set_recipe("rtn(bits=4)");
  const auto valid = call(*methods_, &v1::Methods::Stub::ValidateRecipe, request);
  EXPECT_EQ(valid.recipe_digest(), parse_recipe("rtn(bits=4)").digest().hex());
  EXPECT_THAT(valid.data_names(), IsEmpty());
  request.set_recipe("gptq(bits=4)");
  EXPECT_THAT(call(*methods_, &v1::Methods::Stub::ValidateRecipe, request).data_names(),
              ElementsAre("calibration"));
  request.set_recipe("rtn(bits=99)");
  EXPECT_EQ(thrown_by([&] { call(*methods_, &v1::Methods::Stub::ValidateRecipe, request); }).reason(),
            "OUT_OF_RANGE");
}

TEST_F(Evaluations, AreQueryableAcrossJobs) {
  add_worker();
  for (int i = 0; i < 3; ++i) {
    submit();
    auto end = ending(lease(), "succeeded");
    *end.add_evaluations() = row("perplexity", 10 + i);
    *end.add_evaluations() = row("size", i);
    finish(end);
  }
  v1::QueryEvaluationsRequest request;
  request.set_suite("perplexity");
  request.set_page_size(2);
  std::vector<double> values;
  do {
    const auto page = call(*evaluations_, &v1::Evaluations::Stub::QueryEvaluations, request);
    for (const auto& row : page.evaluations()) values.push_back(row.value());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(values, ElementsAre(10, 11, 12));
}

}  // namespace
}  // namespace wring

// wring-server as a process: ready file, lock, addresses, signals, and kill -9.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "common/clock.h"
#include "common/subprocess.h"
#include "tests/server/test_service.h"

namespace wring {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Process : public testing::Test {
 protected:
  void SetUp() override {
    program_ = sibling_program("wring-server");
    ASSERT_TRUE(fs::exists(program_)) << "wring-server is not built";
  }

  std::unique_ptr<Subprocess> start(std::vector<std::string> arguments) {
    log_ = folder_.path() / "log";
    const FileDescriptor log(::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    SubprocessOptions options;
    options.argv = {program_.string()};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.descriptors = {{log.get(), 1}, {log.get(), 2}};
    return std::make_unique<Subprocess>(options);
  }

  std::unique_ptr<Subprocess> start_ready() {
    auto server = start({"--data", data().string(), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"});
    for (const Stopwatch watch; watch.seconds() < 20;) {
      if (fs::exists(endpoints()) && json_or<int>(read_endpoints(), "pid", 0) == server->pid()) return server;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "not ready within 20 s: " << log();
    return server;
  }

  fs::path data() const { return folder_.path() / "data"; }
  fs::path endpoints() const { return data() / "endpoints.json"; }
  Json read_endpoints() const { return Json::parse(read_file(endpoints())); }
  std::string log() const { return read_file(log_); }

  fs::path program_, log_;
  TempDir folder_;
};

TEST_F(Process, SaysWhereItListensAndDrainsOnSigterm) {
  const auto server = start_ready();
  const auto channel = make_channel(read_endpoints()["grpc"]);
  const auto jobs = v1::Jobs::NewStub(channel);
  grpc::ClientContext context;
  v1::ListJobsResponse response;
  check(jobs->ListJobs(&context, {}, &response));
  server->signal(SIGTERM);
  const auto end = server->wait();
  EXPECT_EQ(end.code, 0) << log();
  EXPECT_FALSE(fs::exists(endpoints()));
}

TEST_F(Process, ASecondOneOnTheSameFolderIsRefused) {
  const auto first = start_ready();
  const auto second = start({"--data", data().string(), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"});
  EXPECT_EQ(second->wait().code, exit_status(ErrorCode::kFailedPrecondition));
  EXPECT_THAT(log(), HasSubstr("another process uses"));
}

TEST_F(Process, WhoseDatabaseIsNotThatOfTheBlobsIsRefused) {
  const auto share = folder_.path() / "share", other = folder_.path() / "other";
  for (const auto& folder : {share, data(), other}) fs::create_directory(folder);
  for (const auto& folder : {data(), other})
    std::ofstream(folder / "blobs.yaml") << "folder: " << share.string() << "\n";
  auto server = start_ready();
  server->signal(SIGTERM);
  server->wait();
  const auto second = start({"--data", other.string(), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"});
  EXPECT_EQ(second->wait().code, exit_status(ErrorCode::kFailedPrecondition));
  EXPECT_THAT(log(),
              HasSubstr("blobs.yaml: the blobs belong to the job database " + read_file(share / "owner")));
  start_ready();
}

TEST_F(Process, WhatWasAcknowledgedIsThereAfterKill9) {
  auto server = start_ready();
  v1::RegisterWorkerRequest request;
  request.mutable_worker()->set_id("w");
  v1::RegisterWorkerResponse response;
  {
    const auto workers = v1::Workers::NewStub(make_channel(read_endpoints()["grpc"]));
    grpc::ClientContext context;
    check(workers->RegisterWorker(&context, request, &response));
  }
  server->signal(SIGKILL);
  server->wait();
  server = start_ready();
  const auto workers = v1::Workers::NewStub(make_channel(read_endpoints()["grpc"]));
  grpc::ClientContext context;
  v1::ListWorkersResponse list;
  check(workers->ListWorkers(&context, {}, &list));
  ASSERT_EQ(list.workers_size(), 1);
  EXPECT_EQ(list.workers(0).id(), "w");
}

TEST_F(Process, AnAddressThatOthersCanReachIsRefused) {
  const auto server = start({"--data", data().string(), "--grpc", "0.0.0.0:0"});
  EXPECT_EQ(server->wait().code, 2);
  EXPECT_THAT(log(), HasSubstr("--insecure-plaintext"));
}

TEST_F(Process, APortInUseIsOneErrorInOurWords) {
  const auto first = start_ready();
  const std::string used = read_endpoints()["grpc"];
  const auto second =
      start({"--data", (folder_.path() / "other").string(), "--grpc", used, "--http", "127.0.0.1:0"});
  EXPECT_EQ(second->wait().code, 5);
  EXPECT_THAT(log(), HasSubstr("cannot listen on " + used));
  EXPECT_THAT(log(), testing::Not(HasSubstr(".cc:")));
}

TEST_F(Process, OptionsThatAreWrongAreNamed) {
  EXPECT_EQ(start({})->wait().code, 2);
  EXPECT_THAT(log(), HasSubstr("--data"));
  EXPECT_EQ(start({"--data", data().string(), "--grpc", "here"})->wait().code, 2);
  EXPECT_THAT(log(), HasSubstr("HOST:PORT"));
  EXPECT_EQ(start({"--lease-seconds", "soon"})->wait().code, 2);
  EXPECT_THAT(log(), HasSubstr("wring-server --help"));
  std::ofstream(folder_.path() / "c.yaml") << "data: " << data().string() << "\nhtpp: 127.0.0.1:0\n";
  EXPECT_EQ(start({"--config", (folder_.path() / "c.yaml").string()})->wait().code, 2);
  EXPECT_THAT(log(), HasSubstr("'http'"));
}

TEST_F(Process, TheConfigurationFileTakesTheFlagsNames) {
  std::ofstream(folder_.path() / "c.yaml")
      << "data: " << data().string()
      << "\ngrpc: 127.0.0.1:0\nhttp: 127.0.0.1:0\nlease-seconds: 20\nheartbeat-seconds: 7\n";
  const auto server = start({"--config", (folder_.path() / "c.yaml").string()});
  for (const Stopwatch watch; !fs::exists(endpoints()) && watch.seconds() < 20;)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(fs::exists(endpoints())) << log();
  const auto workers = v1::Workers::NewStub(make_channel(read_endpoints()["grpc"]));
  v1::RegisterWorkerRequest request;
  request.mutable_worker()->set_id("w");
  v1::RegisterWorkerResponse response;
  grpc::ClientContext context;
  check(workers->RegisterWorker(&context, request, &response));
  EXPECT_EQ(response.heartbeat_seconds(), 7);
}

}  // namespace
}  // namespace wring

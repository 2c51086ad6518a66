// Building and draining the gRPC server.
#include "server/api/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>

#include "common/error.h"

namespace wring {
namespace {

constexpr int kMaxMessage = 80 << 20;  // a manifest is at most 64 MiB
constexpr int kMinPingMs = 10'000;     // clients send one every 30 s
constexpr int kMaxThreads = 2'000;     // one a waiting lease or watch; further calls get RESOURCE_EXHAUSTED

}  // namespace

GrpcServer::GrpcServer(const Backend& backend, const std::string& address)
    : backend_(backend), services_(backend) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(kMaxMessage);
  builder.SetMaxSendMessageSize(kMaxMessage);
  builder.SetResourceQuota(grpc::ResourceQuota("calls").SetMaxThreads(kMaxThreads));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  services_.add_to(builder);
  server_ = builder.BuildAndStart();
  if (!server_ || port_ == 0)
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE", "cannot listen on " + address, "grpc",
                "Choose another port, or 0 for a free one.");
}

GrpcServer::~GrpcServer() {
  stop();
}

void GrpcServer::stop() {
  if (!server_) return;
  if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
  backend_.coordinator.stop();
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server_.reset();
}

}  // namespace wring

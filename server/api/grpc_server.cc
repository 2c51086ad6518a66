// Building and draining the gRPC server.
#include "server/api/grpc_server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>

#include "common/error.h"
#include "proto/rpc/channel.h"

namespace wring {
namespace {

constexpr int kMinPingMs = 10'000;  // clients send one every 30 s
constexpr int kHandshakeMs = 20'000;
constexpr int kMaxStreams = 500;    // calls of one connection at a time
constexpr int kIdleThreads = 64;    // of each queue of calls: to end a thread and start another costs more
constexpr int kMaxThreads = 2'000;  // one a waiting lease or watch; further calls get RESOURCE_EXHAUSTED

// Health is asked for by service, and "" is the whole server.
constexpr const char* kServices[] = {"wring.v1.Artifacts", "wring.v1.Jobs",    "wring.v1.Workers",
                                     "wring.v1.Projects",  "wring.v1.Methods", "wring.v1.Evaluations",
                                     "wring.v1.Tokens",    "wring.v1.Sweeps"};

// gRPC's own lines stay out of the log while this lives: what they say is said by our error.
class QuietGrpc {
 public:
  QuietGrpc() {
    ::gpr_set_log_function([](gpr_log_func_args*) {});
  }
  ~QuietGrpc() { ::gpr_set_log_function(nullptr); }
  QuietGrpc(const QuietGrpc&) = delete;
  QuietGrpc& operator=(const QuietGrpc&) = delete;
};

}  // namespace

namespace {

// A client may show a certificate; one that our CA has not signed ends the connection.
std::shared_ptr<grpc::ServerCredentials> server_credentials(const std::optional<TlsFiles>& tls) {
  if (!tls) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls->ca;
  options.pem_key_cert_pairs.push_back({tls->key, tls->certificate});
  return grpc::SslServerCredentials(options);
}

// What a client cannot take more of than this: connections that say nothing, or whose other end is gone;
// messages that grow when they are unpacked (no client of ours packs them).
void limit_clients(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("calls").SetMaxThreads(kMaxThreads));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A client that does not answer for as long is gone.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  for (const auto packing : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE})
    builder.SetCompressionAlgorithmSupportStatus(packing, false);
}

}  // namespace

GrpcServer::GrpcServer(const Backend& backend, const std::string& address, const std::optional<TlsFiles>& tls)
    : backend_(backend), services_(backend) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, server_credentials(tls), &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  limit_clients(builder);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, kIdleThreads);
  services_.add_to(builder);
  {
    const QuietGrpc quiet;
    server_ = builder.BuildAndStart();
  }
  if (!server_ || port_ == 0)
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE", "cannot listen on " + address, "grpc",
                "Choose another port, or 0 for a free one.");
  for (const auto* service : kServices) server_->GetHealthCheckService()->SetServingStatus(service, true);
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

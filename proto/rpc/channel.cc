// The channel's arguments.
#include "proto/rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

namespace wring {
namespace {

constexpr const char* kServiceConfig = R"({"methodConfig": [{"name": [{}], "retryPolicy": {
  "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
  "retryableStatusCodes": ["UNAVAILABLE"]}}]})";

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Adds to each call's metadata. (Call credentials would need a channel with TLS.)
class MetadataInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit MetadataInterceptor(const Metadata& metadata) : metadata_(metadata) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA))
      methods->GetSendInitialMetadata()->insert(metadata_.begin(), metadata_.end());
    methods->Proceed();
  }

 private:
  const Metadata& metadata_;
};

class MetadataInterceptorFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit MetadataInterceptorFactory(Metadata metadata) : metadata_(std::move(metadata)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return std::make_unique<MetadataInterceptor>(metadata_).release();  // gRPC owns it
  }

 private:
  Metadata metadata_;  // outlives the channel's calls
};

}  // namespace

std::shared_ptr<grpc::Channel> make_channel(const std::string& target, const ChannelSecurity& security) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON(kServiceConfig);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  Metadata metadata;
  if (!security.token.empty()) metadata.emplace_back("authorization", "Bearer " + security.token);
  if (!security.job.empty()) metadata.emplace_back(kJobMetadata, security.job);
  if (!metadata.empty())
    interceptors.push_back(std::make_unique<MetadataInterceptorFactory>(std::move(metadata)));
  const auto credentials = security.ca.empty()
                               ? grpc::InsecureChannelCredentials()
                               : grpc::SslCredentials({security.ca, security.key, security.certificate});
  return grpc::experimental::CreateCustomChannelWithInterceptors(target, credentials, arguments,
                                                                 std::move(interceptors));
}

}  // namespace wring

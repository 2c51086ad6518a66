// One way to reach a server: message sizes, keepalive, reconnects and retries are the same in every client.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace wring {

// A server must accept messages of this size, and pings this often (they are sent only while a call is open).
inline constexpr int kMaxMessageBytes = 80 << 20;  // a manifest is at most 64 MiB
inline constexpr int kFrameBytes = 1 << 20;  // pieces of blobs are no larger; smaller frames cost blobs speed
inline constexpr int kKeepaliveMs = 30'000;

// Metadata of a worker's calls: the leased job that they are made for.
inline constexpr const char* kJobMetadata = "wring-job";

// Among the methods of a worker: it ends a job that is to be planned alone at its plan.
inline constexpr const char* kPlanOnly = "plan-only@1";

// What a channel brings along; PEM texts.
struct ChannelSecurity {
  std::string token;             // goes with every call as the metadata `authorization: Bearer TOKEN`
  std::string ca;                // the server's certificate must be signed by it; empty: plain text
  std::string certificate, key;  // this side's; empty: none
  std::string job = {};          // id that goes with every call as kJobMetadata; empty: none
};

// A channel to `target` ("HOST:PORT"), by the direct way (no proxy). Connects lazily and reconnects within
// 2 s of the server's return. A call that ends UNAVAILABLE before anything was answered is sent again up to
// three times within about a second; nothing else is retried.
std::shared_ptr<grpc::Channel> make_channel(const std::string& target, const ChannelSecurity& security = {});

}  // namespace wring

// Many clients of one server, each with a connection of its own, and what their calls take.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "proto/rpc/status.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {

// The server that is measured.
struct Target {
  std::string address, token;
  int pid = 0;  // 0: its processor time is not reported
  int clients = 1;
  double seconds = 5;
};

// One client. One thread.
struct Connection {
  explicit Connection(const Target& target);

  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Workers::Stub> workers;
  std::string token;
};

// Seconds of each call, by what was called.
using Latencies = std::map<std::string, std::vector<double>>;

// Makes one call of the client and notes what it took. Throws the server's error.
template <typename Request, typename Response, typename Stub>
Response timed_call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Stub& stub,
                    const Request& request, const std::string& token, std::vector<double>& seconds);

// `body(client, connection, latencies)` once for each client at the same time; then a line for each kind of
// call. The first error of a client is thrown. Returns how many calls there were of each kind.
std::map<std::string, std::size_t> run_clients(const Target& target,
                                               const std::function<void(int, Connection&, Latencies&)>& body);

// One line: how many, how many a second of `wall` (0: not told), and milliseconds at p50, p99 and the most.
void print_latencies(const std::string& what, std::vector<double> seconds, double wall = 0);

}  // namespace wring

template <typename Request, typename Response, typename Stub>
Response wring::timed_call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                           Stub& stub, const Request& request, const std::string& token,
                           std::vector<double>& seconds) {
  grpc::ClientContext context;
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  Response response;
  const Stopwatch watch;
  const auto status = (stub.*method)(&context, request, &response);
  seconds.push_back(watch.seconds());
  check(status);
  return response;
}

// Threads of clients, processor times, percentiles.
#include "bench/load/measure.h"

#include <grpcpp/create_channel.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <mutex>
#include <thread>

#include "common/error.h"
#include "proto/rpc/channel.h"

namespace wring {
namespace {

// Channels of equal arguments would share one connection.
std::shared_ptr<grpc::Channel> own_connection(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// Seconds of processor time of a process.
double cpu_of(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  if (pid == 0 || text.empty()) return 0;
  unsigned long user = 0, system = 0;
  std::sscanf(text.c_str() + text.rfind(')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
              &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double load_average() {
  double load = 0;
  ::getloadavg(&load, 1);
  return load;
}

}  // namespace

Connection::Connection(const Target& target) : token(target.token) {
  const auto channel = own_connection(target.address);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30)))
    throw Error(ErrorCode::kUnavailable, "LOAD", "no connection to " + target.address);
  jobs = v1::Jobs::NewStub(channel);
  workers = v1::Workers::NewStub(channel);
}

void print_latencies(const std::string& what, std::vector<double> seconds, double wall) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    return 1e3 * seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
  };
  std::printf("  %-34s %7zu", what.c_str(), seconds.size());
  if (wall > 0) std::printf("  %8.1f/s", static_cast<double>(seconds.size()) / wall);
  std::printf("  p50 %8.2f ms  p99 %8.2f ms  max %8.2f ms\n", at(0.5), at(0.99), at(1));
}

std::map<std::string, std::size_t> run_clients(
    const Target& target, const std::function<void(int, Connection&, Latencies&)>& body) {
  std::vector<Connection> connections;
  for (int i = 0; i < target.clients; ++i) connections.emplace_back(target);
  Latencies all;
  std::mutex mutex;
  std::exception_ptr first;
  const double client_before = cpu_of(::getpid()), server_before = cpu_of(target.pid);
  const Stopwatch watch;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < target.clients; ++i)
      threads.emplace_back([&, i] {
        Latencies mine;
        std::exception_ptr error;
        try {
          body(i, connections[static_cast<std::size_t>(i)], mine);
        } catch (...) {
          error = std::current_exception();
        }
        const std::lock_guard lock(mutex);
        if (!first) first = error;
        for (auto& [kind, seconds] : mine) all[kind].insert(all[kind].end(), seconds.begin(), seconds.end());
      });
  }
  const double wall = watch.seconds();
  std::map<std::string, std::size_t> counts;
  std::size_t calls = 0;
  for (const auto& [kind, seconds] : all) {
    print_latencies(kind + ", " + std::to_string(target.clients) + " clients", seconds, wall);
    calls += counts[kind] = seconds.size();
  }
  if (calls > 0)
    std::printf("    processor time a call: server %.3f ms, clients %.3f ms; load average %.1f\n",
                1e3 * (cpu_of(target.pid) - server_before) / static_cast<double>(calls),
                1e3 * (cpu_of(::getpid()) - client_before) / static_cast<double>(calls), load_average());
  std::fflush(stdout);
  if (first) std::rethrow_exception(first);
  return counts;
}

}  // namespace wring

// Clients that stay connected and say nothing: the thread that waits for them is had back.
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

namespace wring {

// Cancels the calls of clients that let a message wait for longer than the limit. Any thread may call.
class SilenceLimit {
 public:
  explicit SilenceLimit(double seconds);
  ~SilenceLimit();

  // What `step`, which reads or writes one message of the call, returns; false once the call is cancelled.
  template <typename Step>
  bool wait(grpc::ServerContext& context, const Step& step) {
    const Waiting waiting(*this, context);
    return step();
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Entry {
    Time until;
    grpc::ServerContext* context;
  };
  class Waiting {
   public:
    Waiting(SilenceLimit& at, grpc::ServerContext& context);
    ~Waiting();

   private:
    SilenceLimit& at_;
    std::list<Entry>::iterator entry_;
  };

  void run(const std::stop_token& stop);

  std::chrono::steady_clock::duration limit_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::list<Entry> waiting_, cancelled_;  // the first began to wait first
  std::jthread thread_;
};

}  // namespace wring

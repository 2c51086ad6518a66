// Watching a job: one stream after another from the last event's number, until the job has ended.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "client/connection.h"

namespace wring {
namespace {

// What a stream gave, handed from the thread that reads it to the one that watches.
class EventQueue {
 public:
  void push(const v1::Event& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_one();
  }
  void end(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    status_ = status;
    changed_.notify_one();
  }

  struct Taken {
    std::optional<v1::Event> event;
    std::optional<grpc::Status> ended;  // set after the last event
  };
  // The next event; or how the stream ended; or nothing where neither came within `seconds`.
  Taken take(double seconds) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                      [&] { return !events_.empty() || status_; });
    if (events_.empty()) return {std::nullopt, status_};
    Taken taken{std::move(events_.front()), std::nullopt};
    events_.pop_front();
    return taken;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::Event> events_;
  std::optional<grpc::Status> status_;
};

// One open WatchJob stream, read by a thread of its own. `context` must be prepared.
class WatchStream {
 public:
  WatchStream(v1::Jobs::Stub& jobs, grpc::ClientContext& context, const v1::WatchJobRequest& request)
      : context_(context), reader_([this, &jobs, request] {
          const auto stream = jobs.WatchJob(&context_, request);
          v1::Event event;
          while (stream->Read(&event)) queue_.push(event);
          queue_.end(stream->Finish());
        }) {}
  ~WatchStream() {
    context_.TryCancel();
    reader_.join();
  }
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  EventQueue::Taken take(double seconds) { return queue_.take(seconds); }

 private:
  EventQueue queue_;
  grpc::ClientContext& context_;
  std::thread reader_;
};

// Whether another stream may do better (AIP-194): the server is away, or its connection broke.
bool may_come_back(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE;
}

enum class StreamEnd { kJobEnded, kStopped, kBroken };

// How long the server has been away: from the first break, until a stream held again.
class Absence {
 public:
  void stream_held() { since_.reset(); }
  double seconds() {
    if (!since_) since_.emplace();
    return since_->seconds();
  }

 private:
  std::optional<Stopwatch> since_;
};

struct Watch {
  Connection& connection;
  const WatchOptions& options;
  const std::function<void(const v1::Event&)>& on_event;
  v1::WatchJobRequest request;  // after_event is the cursor
  Absence absence = {};
  grpc::Status broken = {};  // how the last stream ended

  bool tick() const { return !options.on_tick || options.on_tick(); }

  // Reads one stream to its end.
  StreamEnd follow() {
    constexpr double kHeldSeconds = 1;
    const Stopwatch open;
    grpc::ClientContext context;
    connection.prepare(context, 0);
    WatchStream stream(*connection.jobs, context, request);
    for (;;) {
      const auto [event, ended] = stream.take(options.tick_seconds);
      if (event || (!ended && open.seconds() > kHeldSeconds)) absence.stream_held();
      if (ended) {
        broken = *ended;
        return StreamEnd::kBroken;
      }
      if (event) {
        if (event->number() > 0) request.set_after_event(event->number());
        on_event(*event);
        if (is_terminal(event->state())) return StreamEnd::kJobEnded;
      }
      if (!tick()) return StreamEnd::kStopped;
    }
  }

  // Waits `seconds`, ticking. False where the caller wants to stop.
  bool pause(double seconds) const {
    for (const Stopwatch watch; watch.seconds() < seconds;) {
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(seconds, options.tick_seconds)));
      if (!tick()) return false;
    }
    return true;
  }

  // Says that the server is away, or throws where it has been for too long or the error is another one.
  void bear(const grpc::Status& status) {
    const auto error = connection.error(status);
    if (!may_come_back(status) || absence.seconds() > options.patience_seconds) throw error;
    if (options.on_break) options.on_break(error);
  }
};

}  // namespace

v1::Job Client::watch(const std::string& id, const WatchOptions& options,
                      const std::function<void(const v1::Event&)>& on_event) {
  v1::Job job = get(id);
  if (is_terminal(job.state()) && job.last_event() <= options.after_event) return job;
  Watch watch{*connection_, options, on_event, {}};
  watch.request.set_id(job.id());
  watch.request.set_after_event(options.after_event);
  for (double distance = 0.1;; distance = std::min(2.0, 2 * distance)) {
    const auto end = watch.follow();
    if (end == StreamEnd::kStopped) return job;
    if (end == StreamEnd::kBroken && !watch.broken.ok()) {
      watch.bear(watch.broken);
    } else {  // the stream ended as it should: after the job's last event
      try {
        job = get(job.id());
        if (is_terminal(job.state())) return job;
      } catch (const Error& e) {
        if (e.code() != ErrorCode::kUnavailable) throw;
        watch.bear(grpc::Status(grpc::StatusCode::UNAVAILABLE, e.message()));
      }
    }
    if (!watch.pause(distance)) return job;
  }
}

}  // namespace wring

// Answers that were given lately, so that a poll costs next to nothing where nothing has changed since, and
// those of many pages little where something has.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "server/http/http_server.h"

namespace wring {

// Any thread may call.
class RecentAnswers {
 public:
  // What an answer says may also change with time alone (a backoff that ends): so long it counts.
  static constexpr TimeMs kGoodForMs = 1000;

  struct Answer {
    std::string tag;
    std::shared_ptr<const HttpResponse> whole;  // null: it was given as a 304, or is too large to keep
  };

  // What `question` was answered with at this version of all that answers are made of; nullopt where it is
  // not known, or too old.
  std::optional<Answer> find(const std::string& question, std::uint64_t version, TimeMs now) const;
  // REQUIRES: `version` was read before the answer was made.
  void put(const std::string& question, std::uint64_t version, TimeMs now, Answer answer);

 private:
  struct Entry {
    std::uint64_t version;
    TimeMs time;
    Answer answer;
  };
  static constexpr std::size_t kMost = 1000, kMostBytes = 32 << 10;  // questions; of a body that is kept

  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace wring

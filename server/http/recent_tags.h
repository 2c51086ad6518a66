// Tags of answers that were given lately, so that a poll costs next to nothing where nothing has changed
// since.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"

namespace wring {

// Any thread may call.
class RecentTags {
 public:
  // What an answer says may also change with time alone (a backoff that ends): so long a tag counts.
  static constexpr TimeMs kGoodForMs = 1000;

  // The tag of what `question` was answered with at this version of all that answers are made of; nullopt
  // where it is not known, or too old.
  std::optional<std::string> find(const std::string& question, std::uint64_t version, TimeMs now) const;
  // REQUIRES: `version` was read before the answer was made.
  void put(const std::string& question, std::uint64_t version, TimeMs now, std::string tag);

 private:
  struct Entry {
    std::uint64_t version;
    TimeMs time;
    std::string tag;
  };
  static constexpr std::size_t kMost = 1000;  // questions

  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace wring

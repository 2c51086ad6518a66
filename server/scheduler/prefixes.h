// What several queued jobs would make the same way, made once: the first steps of their recipes.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/scheduler/records.h"

namespace wring {

// A prefix is the name of what the first k shared steps of a recipe make of its inputs (prefix_names()).
// While a running job makes one, no other job that begins with it is leased. Once it is made the others wait
// until other workers may have it, and no longer than making it took; where its maker ends without, one of
// the others makes it. So whoever waits waits for a job that runs, or for a time that passes.
//
// One thread. Calls return the prefixes for which nobody need wait any more.
class Prefixes {
 public:
  using Freed = std::vector<std::string>;

  // The prefix for which the job has to wait, or nullptr.
  const std::string* waits_for(const JobRecord& job) const;
  // The job was leased, or is running after a restart: it makes what nobody makes or has made.
  void begin(const JobRecord& job);
  // It has made its prefix `k`, which took `took`; so it was not at hand, whatever was known of that. What
  // takes next to nothing is worth no waiting.
  Freed made(const JobRecord& job, std::size_t k, TimeMs now, TimeMs took);
  // Workers of the project may have it.
  Freed share(const std::string& prefix);
  // No worker has the job any more.
  Freed end(const JobRecord& job, bool succeeded);
  // Lets waiting for what was made come to its end.
  Freed tick(TimeMs now);

  // The job that makes or has made each, for invariants.
  const std::map<std::string, std::string>& makers() const { return makers_; }

 private:
  static constexpr TimeMs kNothing = 100, kLeastWait = 1'000, kMostWait = 300'000;
  static constexpr std::size_t kRemembered = 100'000;

  void remember(const std::string& prefix);

  std::map<std::string, std::string>
      makers_;                           // of prefixes that are made, or made and not shared yet: ids of jobs
  std::map<std::string, TimeMs> until_;  // of those of them that are made
  std::set<std::string> at_hand_;
};

}  // namespace wring

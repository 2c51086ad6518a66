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
// until other workers may have it, or are told that they never will. Where its maker ends without, or nothing
// is heard for as long as making it took (1 to 300 seconds), one of the others makes it; where nothing is
// heard of that either, all do. So whoever waits waits for a job that runs, or for a time that passes.
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
  // Workers of the project may have it, or will never: nobody need wait.
  Freed share(const std::string& prefix);
  // The job did without its prefix `k`, and need not be waited for.
  Freed skipped(const JobRecord& job, std::size_t k);
  // No worker has the job any more.
  Freed end(const JobRecord& job, bool succeeded);
  // Lets waiting for what was made come to its end.
  Freed tick(TimeMs now);

  // The job that makes or has made each, for invariants.
  const std::map<std::string, std::string>& makers() const { return makers_; }

 private:
  static constexpr TimeMs kNothing = 100;  // worth no waiting
  static constexpr TimeMs kLeastWait = 1'000, kMostWait = 300'000;
  static constexpr std::size_t kRemembered = 100'000;

  void remember(const std::string& prefix);

  std::map<std::string, std::string>
      makers_;                           // of prefixes that are made, or made and not shared yet: ids of jobs
  std::map<std::string, TimeMs> until_;  // of those of them that are made
  std::set<std::string> at_hand_;
  std::set<std::string> silent_;  // those of which nothing was heard once
};

}  // namespace wring

// Sums of counts, and the lines that matter for one job.
#include "tests/sim/trace.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <string_view>

namespace wring::sim {

void Counts::add(const Counts& other) {
  for (std::size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
  events += other.events;
  steps += other.steps;
  refusals += other.refusals;
  commits += other.commits;
  recoveries += other.recoveries;
  jobs += other.jobs;
  leases += other.leases;
  succeeded += other.succeeded;
  failed += other.failed;
  cancelled += other.cancelled;
  simulated_ms += other.simulated_ms;
}

std::vector<std::string> Trace::about(const std::string& job, std::size_t most) const {
  std::set<std::string> subjects{"", job};
  for (const auto& line : lines_) {
    constexpr std::string_view kHolder = "\"worker\":\"";
    const auto at = line.about == job ? line.text.find(kHolder) : std::string::npos;
    if (at == std::string::npos) continue;
    const auto name = at + kHolder.size();
    subjects.insert(line.text.substr(name, line.text.find('"', name) - name));
  }
  std::vector<std::string> found;
  for (auto it = lines_.rbegin(); it != lines_.rend() && found.size() < most; ++it) {
    if (!subjects.contains(it->about)) continue;
    char time[32];
    std::snprintf(time, sizeof time, "%10.3f s  ", static_cast<double>(it->at) / 1000);
    found.push_back(time + it->text);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

}  // namespace wring::sim

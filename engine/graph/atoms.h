// Indices of axes that can only leave a graph together: union-find (Tarjan 1975) over one atom an index.
#pragma once

#include <numeric>
#include <vector>

namespace wring {

using AtomIds = std::vector<int>;

class Atoms {
 public:
  // `count` new atoms, each a class of its own.
  AtomIds make(std::int64_t count) {
    AtomIds ids(static_cast<std::size_t>(count));
    std::iota(ids.begin(), ids.end(), static_cast<int>(parents_.size()));
    parents_.insert(parents_.end(), ids.begin(), ids.end());
    barred_.resize(parents_.size(), false);
    return ids;
  }
  AtomIds make_barred(std::int64_t count) {
    const AtomIds ids = make(count);
    bar(ids);
    return ids;
  }

  int find(int atom) {
    auto at = static_cast<std::size_t>(atom);
    while (parents_[at] != static_cast<int>(at)) {
      parents_[at] = parents_[static_cast<std::size_t>(parents_[at])];
      at = static_cast<std::size_t>(parents_[at]);
    }
    return static_cast<int>(at);
  }
  void unite(int a, int b) {
    const int x = find(a), y = find(b);
    parents_[static_cast<std::size_t>(y)] = x;
    if (barred_[static_cast<std::size_t>(y)]) barred_[static_cast<std::size_t>(x)] = true;
  }

  // A barred class never leaves.
  void bar(const AtomIds& ids) {
    for (const int atom : ids) barred_[static_cast<std::size_t>(find(atom))] = true;
  }
  bool is_barred(int atom) { return barred_[static_cast<std::size_t>(find(atom))]; }

 private:
  std::vector<int> parents_;
  std::vector<bool> barred_;
};

}  // namespace wring

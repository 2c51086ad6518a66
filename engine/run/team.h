// The processes of one job, as they talk to each other.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "engine/model/weight_rep.h"

namespace wring {

// What one process gives another. Tensors arrive on the CPU, contiguous, and are the receiver's own.
struct Parcel {
  Json json = Json::object();
  std::vector<NamedTensor> tensors;
};

// One process's place among them. The first (rank 0) runs the job; all run a stage that is split over its
// sequences, and make the same calls in the same order. Each waits for those that it hears from: where one
// has failed, or is gone, the call throws what it failed with, or Error(kInternal, "ENGINE_CRASH"). One
// thread.
class Team {
 public:
  Team() = default;  // alone
  // `links[i]` is a stream socket whose other end process i holds; its own place is empty. `lost` says why a
  // process is gone.
  Team(int rank, std::vector<FileDescriptor> links, std::function<Error(int rank)> lost = {});

  int rank() const { return rank_; }
  int size() const { return links_.empty() ? 1 : static_cast<int>(links_.size()); }
  bool first() const { return rank_ == 0; }
  bool alone() const { return size() == 1; }

  void send(int to, const Parcel& parcel);
  Parcel receive(int from);

  // The parcel of process `from`, in all of them.
  Parcel share(int from, Parcel parcel);

  // Each tensor becomes its sum over all processes, added in the order of their ranks, with the same bits in
  // all. Undefined ones count as zeros, and stay undefined where they are so everywhere.
  void add_up(std::vector<at::Tensor>& tensors);

  // Tells the first process what this one failed with.
  void fail(const Error& error);

 private:
  [[noreturn]] void throw_lost(int rank);

  int rank_ = 0;
  std::vector<FileDescriptor> links_;
  std::function<Error(int rank)> lost_;
};

}  // namespace wring

// Strategies that ask for no results: grid, random, Latin hypercube.
#pragma once

#include "server/sweeps/sampling.h"
#include "server/sweeps/strategy.h"

namespace wring {

// Every point once, the last dimension changing first.
class Grid final : public Strategy {
 public:
  explicit Grid(const Sweep& sweep) : space_(sweep.space), size_(space_.size().value_or(0)) {}
  Next next(std::span<const TrialView> trials) override;

 private:
  Space space_;
  std::uint64_t size_;
};

// Uniform points, none twice.
class RandomSearch final : public Strategy {
 public:
  explicit RandomSearch(const Sweep& sweep)
      : space_(sweep.space), seed_(sweep.strategy.seed), tried_(space_) {}
  Next next(std::span<const TrialView> trials) override;

 private:
  Space space_;
  std::uint64_t seed_;
  Tried tried_;
};

// Of k trials each k-th of every dimension has one (McKay, Beckman, Conover 1979); each extension is a
// hypercube of its own.
class LatinHypercube final : public Strategy {
 public:
  LatinHypercube(const Sweep& sweep, std::vector<std::uint64_t> extents)
      : space_(sweep.space), seed_(sweep.strategy.seed), extents_(std::move(extents)) {}
  Next next(std::span<const TrialView> trials) override;

 private:
  void shuffle(std::size_t block);

  Space space_;
  std::uint64_t seed_;
  std::vector<std::uint64_t> extents_;
  std::size_t block_ = SIZE_MAX;                    // of `orders_`
  std::vector<std::vector<std::uint64_t>> orders_;  // by dimension: which k-th each trial of the block takes
};

}  // namespace wring

// What this machine computes with.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/json.h"

namespace wring {

// The devices of this process: [{kind, index, name, memory_bytes, threads}], cpu first.
Json list_devices();

// "cpu" or "cuda:N" as torch names it. Throws Error(kInvalidArgument, "NO_DEVICE") where it is not there.
at::Device parse_device(const std::string& device);

// Highest memory of tensors on an accelerator since the last reset, bytes; 0 for the CPU.
void reset_peak_device_bytes(at::Device device);
std::uint64_t peak_device_bytes(at::Device device);

// "cpu: AMD EPYC, 2 threads" and the kernel level that stage keys hold ("avx512-bf16", "avx2", "sm90").
std::string hardware_name(const std::string& device, int threads);
std::string kernel_level(const std::string& device);

// Sets the threads of every kernel of this process; 0: all cores. Returns how many.
int set_threads(int threads);

// Memory of this process that no file backs, and what memory this machine has (0: unknown), bytes.
std::uint64_t anonymous_bytes();
std::uint64_t total_memory_bytes();

// Gives the allocator's free pages back to the system. Where long-lived tensors lie between short-lived ones
// it would keep most of what was ever used.
void release_free_memory();

// glibc moves its thresholds with what a program frees, so that the same work takes more memory the second
// time than the first, when it was forecast. Fixed, larger tensors are pages of their own, which leave no
// holes; or they stay in the heap, for a step of training asks for the same ones as the one before, and new
// pages would cost as much as its arithmetic.
void fix_heap_thresholds();
class KeptHeap {  // as long as it lives
 public:
  KeptHeap();
  ~KeptHeap() { fix_heap_thresholds(); }
  KeptHeap(const KeptHeap&) = delete;
  KeptHeap& operator=(const KeptHeap&) = delete;
};

// Highest resident memory of this process since the last reset (mapped files that were read count), bytes.
void reset_peak_resident_bytes();
std::uint64_t peak_resident_bytes();
std::uint64_t resident_bytes();

}  // namespace wring

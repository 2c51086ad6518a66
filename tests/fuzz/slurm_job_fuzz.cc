// Any bytes as a line of squeue: refused with an Error, or a job.
#include "server/provision/slurm_queue.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  return fuzz::expect_error_or_success([&] { parse_slurm_job(std::string(fuzz::text_of(data, size))); });
}

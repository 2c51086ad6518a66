// Any bytes from an engine's pipe, in pieces: refused with an Error, or lines that name steps there can be.
#include <algorithm>
#include <string>
#include <variant>

#include "tests/fuzz/fuzz.h"
#include "worker/pipe.h"

namespace {

void check(const wring::EngineLine& line) {
  using namespace wring;
  if (const auto* const lookup = std::get_if<LookupLine>(&line)) fuzz::require(lookup->index < kMaxSteps);
  if (const auto* const started = std::get_if<StartedLine>(&line)) fuzz::require(started->index < kMaxSteps);
  if (const auto* const done = std::get_if<DoneLine>(&line)) fuzz::require(done->stage.index() < kMaxSteps);
  if (const auto* const plan = std::get_if<PlanLine>(&line)) fuzz::require(plan->steps.size() <= kMaxSteps);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  constexpr std::size_t kPiece = 61;
  LineBuffer lines;
  std::string whole, taken;
  fuzz::expect_error_or_success([&] {
    for (std::size_t at = 0; at < size; at += kPiece) {
      const auto piece = fuzz::text_of(data + at, std::min(kPiece, size - at));
      whole += piece;
      lines.append(piece);
      while (const auto line = lines.next()) {
        taken += *line + "\n";
        fuzz::expect_error_or_success([&] { check(parse_engine_line(*line)); });
      }
    }
    fuzz::require(taken + std::string(lines.rest()) == whole);
  });
  return 0;
}
